"""Tutti under PyTorch: torch.distributed.init_process_group("tutti"), for tensors on the CPU.

Nothing has to be imported for that: where this package is installed, torch knows the name. The extension is built for the
torch that is installed when the first process group is made (tutti.torch.build; `python -m tutti.torch build` does it
before). What follows is for what torch's own functions do not reach.
"""
from __future__ import annotations

import atexit
import datetime
import functools
import os
from typing import Any

import torch.distributed as dist

import tutti.errors
from tutti.torch.build import load
from tutti.torch.elastic import Elastic

__all__ = ["Elastic", "Options", "create_backend", "error", "monitored_barrier", "set_timeout", "use_by_default"]


@functools.cache
def _extension() -> Any:
    extension = load()
    atexit.register(extension.shut_down_all)
    return extension


def Options(settings: str = "") -> Any:  # noqa: N802  (a class to its users, of the extension)
    """What init_process_group and new_group take as pg_options. settings: "TUTTI_TRANSPORTS=tcp ...", before those of the
    environment."""
    options = _extension().Options()
    options.settings = settings
    return options


def create_backend(options: Any, given: Any) -> Any:
    """What torch calls for a new process group. Ranks meet in torch's own store."""
    made = _extension().Options() if given is None else given
    made.timeout = options.timeout
    made.group_name = options.group_id
    made.global_ranks_in_group = list(options.global_ranks_in_group)
    made.attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    if getattr(options, "enable_reconfigure", False):  # torch 2.14 and later
        made.enable_reconfigure = True
    return _extension().Backend(options.store, options.group_rank, options.group_size, made)


def make_backend(
    store: dist.Store, rank: int, size: int, timeout: datetime.timedelta, *, settings: str = "", name: str = "torch"
) -> Any:
    """A backend for who makes process groups without torch.distributed's functions, as torchft does. The part of the store
    must be new to the group; name: in messages."""
    options = Options(settings)
    options.timeout = timeout
    options.group_name = name
    return _extension().Backend(store, rank, size, options)


def _backend(group: dist.ProcessGroup | None) -> Any:
    found = (group or dist.group.WORLD)._get_backend(_cpu())
    # With TORCH_DISTRIBUTED_DEBUG=DETAIL torch puts a wrapper around it.
    found = getattr(found, "wrapped_pg", found)
    if not isinstance(found, _extension().Backend):
        raise ValueError(f"the process group's backend for the CPU is {found.name()}, not tutti")
    return found


def _cpu() -> Any:
    import torch

    return torch.device("cpu")


def set_timeout(timeout: datetime.timedelta, group: dist.ProcessGroup | None = None) -> None:
    """The time that each later operation of the group may take, unless its call says otherwise."""
    _backend(group).set_timeout(timeout)


def error(group: dist.ProcessGroup | None = None) -> tutti.errors.Error | None:
    """What has gone wrong with the group, with .rank, whose fault it is as far as is known; None while nothing has."""
    status, text, rank = _backend(group).failure()
    return None if status == "TUTTI_OK" else tutti.errors.from_status(status, text, None if rank < 0 else rank)


def monitored_barrier(group: dist.ProcessGroup | None = None, timeout: datetime.timedelta | None = None) -> None:
    """A barrier whose error names who is missing, as every error of Tutti's does; torch's function of the same name
    takes gloo alone."""
    limit = {} if timeout is None else {"timeout": timeout}
    options = dist.BarrierOptions()
    for name, value in limit.items():
        setattr(options, name, value)
    _backend(group).barrier(options).wait()


def use_by_default() -> None:
    """Makes tutti what init_process_group() takes for tensors on the CPU where no backend is named."""
    dist.Backend.default_device_backend_map["cpu"] = "tutti"
