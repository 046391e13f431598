"""Builds and loads the extension for the torch that is installed: torch's C++ interface changes with each of its minor
versions, so one file serves one version. It is built once, in about half a minute, by the first process that needs it, while
the others wait; it is kept beside this package, or below ~/.cache/tutti where that cannot be written.
"""
from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from typing import Any

_PACKAGE = pathlib.Path(__file__).resolve().parent
_SOURCES = _PACKAGE / "source"
_NAME = "_tutti_torch"


class BuildError(RuntimeError):
    """The extension could not be built; says what is missing, or the compiler's own words."""


def _compiler() -> str:
    for candidate in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        if candidate and shutil.which(candidate):
            return candidate
    raise BuildError(
        "tutti's backend for torch.distributed has to be built once for this torch, and no C++ compiler was found. "
        "Install one (Debian: apt install g++), or set CXX to it"
    )


def _command(target: pathlib.Path, sources: list[pathlib.Path]) -> list[str]:
    import torch
    from torch.utils import cpp_extension

    libraries = pathlib.Path(torch.__file__).parent / "lib"
    includes = [_SOURCES, _PACKAGE.parent / "include", sysconfig.get_path("include"), *cpp_extension.include_paths()]
    return [
        *_compiler().split(),
        "-shared",
        "-fPIC",
        "-std=c++20",
        "-O2",
        "-w",
        "-fvisibility=hidden",
        f"-DTORCH_EXTENSION_NAME={_NAME}",
        f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}",
        *(f"-I{folder}" for folder in includes),
        *(argument for source in sources for argument in ("-include", str(source))),
        "-x",
        "c++",
        os.devnull,
        "-x",
        "none",
        str(next((_PACKAGE.parent / "lib").glob("libtutti.so*"))),
        f"-L{libraries}",
        "-lc10",
        "-ltorch_cpu",
        "-o",
        str(target),
    ]


def _sources() -> list[pathlib.Path]:
    found = sorted((_SOURCES / "bindings" / "torch" / "src").glob("*.cc"))
    # The module's file says how torch's pointers are held, before anything that uses them.
    return sorted(found, key=lambda path: path.name != "module.cc")


def _file_name() -> str:
    """One for each torch, Python and state of the sources."""
    import torch

    digest = hashlib.sha256()
    for source in sorted((_SOURCES / "bindings" / "torch" / "src").iterdir()):
        digest.update(source.read_bytes())
    version = torch.__version__.replace("+", "-")
    return f"{_NAME}-{version}-{sys.implementation.cache_tag}-{digest.hexdigest()[:12]}.so"


def _folder() -> pathlib.Path:
    beside = _PACKAGE / "built"
    with contextlib.suppress(OSError):
        beside.mkdir(exist_ok=True)
        if os.access(beside, os.W_OK):
            return beside
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "tutti"
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    return cache


@contextlib.contextmanager
def _lock(folder: pathlib.Path) -> Iterator[None]:
    with open(folder / f"{_NAME}.lock", "w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def build() -> pathlib.Path:
    """The extension's file, which is built if it is not there. BuildError says why it cannot be."""
    folder = _folder()
    target = folder / _file_name()
    if target.exists():
        return target
    with _lock(folder):
        if target.exists():
            return target
        print(f"tutti: building the backend for this torch, once ({target})", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            made = pathlib.Path(scratch) / target.name
            done = subprocess.run(_command(made, _sources()), capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise BuildError(f"tutti's backend for torch.distributed could not be built:\n{done.stderr[-4000:]}")
            made.rename(target)
    return target


def load() -> Any:
    """The extension as a module."""
    import torch  # noqa: F401  (its libraries are found by those who come later)

    import tutti  # noqa: F401  (the same for libtutti)

    spec = importlib.util.spec_from_file_location(_NAME, build())
    if spec is None or spec.loader is None:
        raise BuildError(f"{build()} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
