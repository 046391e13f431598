"""Awaiting requests. Operations go on by themselves; the event loop only asks whether they are complete."""
from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tutti._tutti import Request

_FIRST_PAUSE_SECONDS = 50e-6
_LONGEST_PAUSE_SECONDS = 1e-3


async def _wait(request: Request) -> Any:
    pause = _FIRST_PAUSE_SECONDS
    await asyncio.sleep(0)
    while not request.done():
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
    return request.wait()


def until_done(request: Request) -> Generator[Any, None, Any]:
    """What `await request` runs: other tasks go on meanwhile. A cancelled wait does not end the operation."""
    return _wait(request).__await__()
