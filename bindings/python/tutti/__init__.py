"""Tutti: collective communication for processes that differ, over shared memory and networks.

    import numpy, tutti

    with tutti.Communicator.from_environment() as comm:
        gradients = numpy.ones(1000, numpy.float32)
        comm.all_reduce(gradients)                       # in place, on every rank
        request = comm.start_all_reduce(gradients)       # in the background
        request.wait()                                   # or: await request

Buffers are NumPy arrays, anything else with the buffer protocol, and DLPack tensors on the CPU (torch, JAX). They are
used where they lie, never copied, and belong to Tutti until their operation is complete. Every wait ends, at the latest
at the operation's deadline, and lets other Python threads run. Errors are the classes below Error.
"""
from tutti._tutti import (
    Communicator,
    Memory,
    Request,
    State,
    group,
    recorder_path,
    register_store,
    set_log_hook,
    unique_id,
    unregister_store,
    version,
)
from tutti.errors import (
    AbortedError,
    Error,
    InternalError,
    InvalidError,
    PeerLostError,
    SystemRefusedError,
    TimeoutError,
    UnsupportedError,
)

__version__ = version()

__all__ = [
    "AbortedError",
    "Communicator",
    "Error",
    "InternalError",
    "InvalidError",
    "Memory",
    "PeerLostError",
    "Request",
    "State",
    "SystemRefusedError",
    "TimeoutError",
    "UnsupportedError",
    "group",
    "recorder_path",
    "register_store",
    "set_log_hook",
    "unique_id",
    "unregister_store",
    "version",
]
