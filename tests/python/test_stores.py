"""Stores in Python, the log in Python, ids, and the tools that come with the package."""
import os
import subprocess
import sys
import threading
import time

import job


class FileStore:
    """A store of one's own: a file for each key in a directory."""

    def __init__(self, directory):
        self.directory = directory

    def _path(self, key):
        return os.path.join(self.directory, key.replace("/", "_"))

    def get(self, key, timeout):
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                with open(self._path(key), "rb") as file:
                    return file.read()
            except FileNotFoundError:
                if end is not None and time.monotonic() >= end:
                    raise
                time.sleep(0.005)

    def set_if_absent(self, key, value, timeout):
        new = f"{self._path(key)}.{os.getpid()}.{threading.get_ident()}"
        with open(new, "wb") as file:
            file.write(value)
        try:
            os.link(new, self._path(key))
        except FileExistsError:
            pass
        finally:
            os.unlink(new)
        return self.get(key, 0)


def _own_store(directory):
    import numpy as np
    import tutti

    rank, size = int(os.environ["TUTTI_RANK"]), int(os.environ["TUTTI_SIZE"])
    store = FileStore(directory)

    def get(key, timeout):
        try:
            return store.get(key, timeout)
        except FileNotFoundError as why:
            raise TimeoutError(str(why)) from why

    tutti.register_store("mine", get, store.set_if_absent)
    comm = tutti.Communicator.from_store(size, rank, "callback://mine", timeout=30)
    assert (comm.all_reduce(np.ones(3)) == size).all()
    comm.close()
    tutti.unregister_store("mine")


def test_ranks_meet_in_a_store_of_ones_own(tmp_path):
    job.run(3, _own_store, str(tmp_path))


def _bad_store():
    import tutti

    def get(key, timeout):
        raise RuntimeError("the store is on fire")

    lines = []
    tutti.set_log_hook(lambda level, area, text: lines.append((level, area, text)))
    tutti.register_store("bad", get, lambda key, value, timeout: "no bytes")
    try:
        tutti.Communicator.from_store(2, 0, "callback://bad", timeout=2)
        raise AssertionError("it cannot have worked")
    except tutti.Error as error:
        assert "on fire" in str(error) or "bytes" in str(error), str(error)
    tutti.set_log_hook(None)


def test_what_a_store_raises_is_said():
    job.run(1, _bad_store)


def _by_id(id_file):
    import numpy as np
    import tutti

    rank, size = int(os.environ["TUTTI_RANK"]), int(os.environ["TUTTI_SIZE"])
    if rank == 0:
        unique_id = tutti.unique_id()
        with open(id_file + ".new", "wb") as file:
            file.write(unique_id)
        os.rename(id_file + ".new", id_file)
    while not os.path.exists(id_file):
        time.sleep(0.01)
    with open(id_file, "rb") as file:
        unique_id = file.read()
    with tutti.Communicator.from_id(size, rank, unique_id, timeout=30) as comm:
        assert (comm.all_reduce(np.ones(2)) == size).all()


def test_ranks_meet_by_an_id(tmp_path):
    job.run(2, _by_id, str(tmp_path / "id"), TUTTI_STORE="")


def test_the_tools_come_with_the_package():
    for tool in ("perf", "recorder", "store"):
        done = subprocess.run([sys.executable, "-m", "tutti", tool, "--help"], capture_output=True, text=True, timeout=30)
        assert done.returncode == 0 and f"tutti-{tool}" in done.stdout, done
    wrong = subprocess.run([sys.executable, "-m", "tutti", "no-such"], capture_output=True, text=True, timeout=30)
    assert wrong.returncode == 2 and "perf" in wrong.stderr


def test_the_types_hold():
    package = subprocess.run([sys.executable, "-m", "mypy", "--strict", "-p", "tutti", "-p", "tutti_torch"],
                             capture_output=True, text=True, timeout=300)
    assert package.returncode == 0, package.stdout
