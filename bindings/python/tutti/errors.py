"""What Tutti's calls raise. Each says what failed, between whom, the cause and what to do, in one sentence."""
from __future__ import annotations

import builtins


class Error(Exception):
    """A call of Tutti's that went wrong.

    status: the C API's name for it, "TUTTI_PEER_LOST" say. rank: whose fault it is, as far as that is known, in the
    communicator's numbering; None if nobody's in particular.
    """

    status = "TUTTI_INTERNAL"

    def __init__(self, text: str, rank: int | None = None) -> None:
        super().__init__(text)
        self.rank = rank


class InvalidError(Error, ValueError):
    """This call, or a setting, is wrong, or does not match what another rank called. Nothing was sent."""

    status = "TUTTI_INVALID"


class UnsupportedError(Error, NotImplementedError):
    """Right, but not available here."""

    status = "TUTTI_UNSUPPORTED"


class TimeoutError(Error, builtins.TimeoutError):
    """A deadline passed; the text names who was waited for."""

    status = "TUTTI_TIMEOUT"


class PeerLostError(Error, ConnectionError):
    """Another process, or every way to reach it, is gone."""

    status = "TUTTI_PEER_LOST"


class AbortedError(Error):
    """Somebody aborted the communicator."""

    status = "TUTTI_ABORTED"


class SystemRefusedError(Error, OSError):
    """The operating system refused something; the text has its words."""

    status = "TUTTI_SYSTEM"


class InternalError(Error):
    """A bug in Tutti; please report the text."""


_CLASSES: dict[str, type[Error]] = {
    kind.status: kind
    for kind in (InvalidError, UnsupportedError, TimeoutError, PeerLostError, AbortedError, SystemRefusedError)
}


def from_status(status: str, text: str, rank: int | None) -> Error:
    """The exception for a status of the C API."""
    return _CLASSES.get(status, InternalError)(text, rank)
