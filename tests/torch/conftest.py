"""Where torch is not installed, none of these tests are collected; scripts/lib/build-python installs it. Where it is, the
extension is built from the start of the session, as its users can do it: it takes half a minute, in which other tests run.
"""
import functools
import importlib.util
import subprocess
import sys

import pytest

_HAS_TORCH = importlib.util.find_spec("torch") is not None
collect_ignore_glob = [] if _HAS_TORCH else ["test_*.py"]
_BUILD_LIMIT_SECONDS = 600


@functools.cache
def _build():
    command = [sys.executable, "-m", "tutti.torch", "build"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def pytest_sessionstart(session):
    if _HAS_TORCH and not session.config.option.collectonly:
        _build()


@pytest.fixture(scope="session", autouse=True)
def extension():
    """The extension's file."""
    file, why = _build().communicate(timeout=_BUILD_LIMIT_SECONDS)
    assert _build().returncode == 0, why
    return file.strip()
