"""What `import torch` runs where tutti is installed (entry point "torch.backends"): makes "tutti" a backend's name.

It imports nothing of Tutti, and never raises, since that would break `import torch`.
"""
from __future__ import annotations

import warnings
from typing import Any


def _create(options: Any, given: Any) -> Any:
    from tutti.torch import create_backend

    return create_backend(options, given)


def register() -> None:
    """Registers the backend for tensors on the CPU, once."""
    try:
        import torch.distributed as dist

        if dist.is_available() and not hasattr(dist.Backend, "TUTTI"):
            dist.Backend.register_backend("tutti", _create, extended_api=True, devices=["cpu"])
    except Exception as why:  # noqa: BLE001
        warnings.warn(f"the torch.distributed backend tutti was not registered: {why!r}", RuntimeWarning, stacklevel=2)
