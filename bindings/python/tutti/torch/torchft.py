"""Tutti as a process group of torchft (https://pytorch.org/torchft), which trains on when replicas die and come back:

    from tutti.torch.torchft import ProcessGroupTutti

    manager = torchft.Manager(pg=ProcessGroupTutti(), ...)

torchft decides who the members are (its lighthouse), and gives each quorum a fresh part of a store: every configure() makes a
communicator of those who are left. Needs the package torchft, of which tutti installs nothing by itself.
"""
from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torchft.process_group import ProcessGroupWrapper

import tutti.torch

if TYPE_CHECKING:
    from torchft.process_group import ProcessGroup

__all__ = ["ProcessGroupTutti"]


class _Work(dist._Work):  # type: ignore[misc]
    """An operation whose wait, if it runs out of time, makes the group wrong: torchft then configures it anew, and nothing
    that nobody waits for any more can take another's message."""

    def __init__(self, group: ProcessGroupTutti, work: Any) -> None:
        super().__init__()
        self._group = group
        self._work = work

    def wait(self, timeout: datetime.timedelta | None = None) -> bool:
        if timeout is None:
            return bool(self._work.wait())
        try:
            return bool(self._work.wait(timeout))
        except dist.DistBackendError as error:
            self._group._ran_out_of_time(str(error))
            raise

    def is_completed(self) -> bool:
        return bool(self._work.is_completed())

    def get_future(self) -> torch.futures.Future[Any]:
        return self._work.get_future()


class ProcessGroupTutti(ProcessGroupWrapper):  # type: ignore[misc]
    """A process group for torchft.Manager, for tensors on the CPU; all of Tutti's collectives, reduce-scatter among them.

    timeout: of configure() and of each operation. settings: of Tutti, "TUTTI_TRANSPORTS=tcp". Errors are
    dist.DistBackendError. abort() and shutdown() may be called by any thread; what other threads wait for ends then.
    """

    def __init__(
        self,
        timeout: datetime.timedelta = datetime.timedelta(seconds=60),
        pg: ProcessGroup | None = None,
        settings: str = "",
    ) -> None:
        super().__init__(timeout, pg)
        self._settings = settings
        self._backend: Any = None
        self._was_aborted = False

    def getBackendName(self) -> str:  # noqa: N802  (torchft's name)
        """torchft's name for it."""
        return "torchft-tutti"

    def errored(self) -> Exception | None:
        """What has made the group wrong, so that torchft configures it anew; None while nothing has."""
        if self._was_aborted:
            return RuntimeError("the process group is aborted: abort() was called")
        backend = self._backend
        if backend is None:
            return None
        status, text, _ = backend.failure()
        return None if status == "TUTTI_OK" else RuntimeError(f"the process group is aborted: {text} [{status}]")

    def set_timeout(self, timeout: datetime.timedelta) -> None:
        """For each later operation, and for configure()."""
        super().set_timeout(timeout)
        if self._backend is not None:
            self._backend.set_timeout(timeout)

    def abort(self, errored: bool = True) -> None:
        """Ends what is under way, here and on the others. Does not wait. errored: whether that is an error."""
        self._was_aborted = errored
        backend, self._backend = self._backend, None
        if backend is not None:
            backend.abort()
        super().abort(errored)

    def shutdown(self) -> None:
        """Waits for what is under way, for five seconds at most, and closes all links."""
        backend, self._backend = self._backend, None
        if backend is not None:
            backend.shutdown()
        super().shutdown()

    def _wrap_work(self, work: Any, opts: object) -> Any:
        return _Work(self, work)

    def _ran_out_of_time(self, why: str) -> None:
        if self._backend is not None:
            self._backend.abort_because(why)

    def _create_pg(self, store: dist.Store, rank: int, world_size: int) -> dist.ProcessGroup:
        self._backend = tutti.torch.make_backend(
            store, rank, world_size, self._timeout, settings=self._settings, name=f"torchft quorum {self._quorum_id}"
        )
        group = dist.ProcessGroup(store, rank, world_size)
        group._set_default_backend(dist.ProcessGroup.BackendType.CUSTOM)
        group._register_backend(torch.device("cpu"), dist.ProcessGroup.BackendType.CUSTOM, self._backend)
        return group
