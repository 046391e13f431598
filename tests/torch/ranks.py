"""Runs a function of a test as every rank of a process group, each in a process of its own.

torch is imported here, once, before the ranks are forked, so that they start fast; so is what it imports when an optimizer
is first used, and what trainings import, which takes seconds. None of the parent's threads is used by the ranks.
"""
import datetime
import gc
import importlib
import multiprocessing
import os
import queue
import socket
import time
import traceback

import torch
import torch.distributed as dist

for _name in ("_dynamo", "distributed.checkpoint", "distributed.fsdp", "distributed.optim", "distributed.pipelining",
              "distributed.tensor.parallel"):
    importlib.import_module(f"torch.{_name}")
gc.freeze()  # so that no rank looks through all of that, and copies its pages, to collect garbage

LIMIT_SECONDS = 90
RUNS_LONG = os.environ.get("TUTTI_TEST_LONG") == "1"
KILLED = "killed"


def free_port():
    """A port of the loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _run(function, rank, size, port, backend, timeout, arguments, results):
    torch.set_num_threads(1)
    os.environ.update({"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1"})
    os.environ.update({"MASTER_PORT": str(port), "TORCH_CPP_LOG_LEVEL": "ERROR"})
    # For what takes no process group.
    os.environ.update({"TUTTI_RANK": str(rank), "TUTTI_SIZE": str(size), "TUTTI_STORE": f"tcp://127.0.0.1:{port}"})
    try:
        limit = datetime.timedelta(seconds=timeout)
        if backend:
            dist.init_process_group(backend, init_method="env://", rank=rank, world_size=size, timeout=limit)
        value = function(*arguments)
        if dist.is_initialized():
            dist.destroy_process_group()
        results.put((rank, None, value))
    except BaseException:  # noqa: BLE001  (the test's process shows it)
        results.put((rank, traceback.format_exc(), None))


def run(size, function, *arguments, backend="tutti", timeout=60, killed=()):
    """What each rank's function returned, by rank. killed: ranks that end by SIGKILL, and return nothing."""
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    port = free_port()
    processes = [
        context.Process(target=_run, args=(function, rank, size, port, backend, timeout, arguments, results))
        for rank in range(size)
    ]
    for process in processes:
        process.start()
    found = {rank: (None, KILLED) for rank in killed}
    end = time.monotonic() + LIMIT_SECONDS
    try:
        while len(found) < size:
            try:
                rank, error, value = results.get(timeout=max(0.1, end - time.monotonic()))
            except queue.Empty:
                break
            found[rank] = (error, value)
    finally:
        for process in processes:
            process.join(timeout=max(10, end - time.monotonic()))
            if process.is_alive():
                process.kill()
    wrong = [f"rank {rank}:\n{error}" for rank, (error, _) in sorted(found.items()) if error]
    wrong += [f"rank {rank} has not ended" for rank in range(size) if rank not in found]
    assert not wrong, "\n".join(wrong)
    codes = [process.exitcode for process in processes]
    assert codes == [-9 if rank in killed else 0 for rank in range(size)], codes
    return [found[rank][1] for rank in range(size)]
