"""Runs a function of a test as every rank of a job, each in a process of its own.

The processes are forked before any of them has imported tutti, so they start fast and share nothing of it.
"""
import multiprocessing
import os
import socket
import traceback

_LIMIT_SECONDS = 60


def free_port():
    """A port of the loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _run(function, rank, size, store, settings, arguments, results):
    os.environ.update({"TUTTI_RANK": str(rank), "TUTTI_SIZE": str(size), "TUTTI_STORE": store, **settings})
    try:
        results.put((rank, None, function(*arguments)))
    except BaseException:  # noqa: BLE001  (the test's process shows it)
        results.put((rank, traceback.format_exc(), None))


def run(size, function, *arguments, **settings):
    """What each rank's function returned, by rank. Settings are environment variables."""
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    store = f"tcp://127.0.0.1:{free_port()}"
    ranks = [
        context.Process(target=_run, args=(function, rank, size, store, settings, arguments, results))
        for rank in range(size)
    ]
    for process in ranks:
        process.start()
    try:
        found = [results.get(timeout=_LIMIT_SECONDS) for _ in ranks]
    finally:
        for process in ranks:
            process.join(timeout=10)
            if process.is_alive():
                process.kill()
    wrong = [f"rank {rank}:\n{error}" for rank, error, _ in sorted(found, key=lambda one: one[0]) if error]
    assert not wrong, "\n".join(wrong)
    assert [process.exitcode for process in ranks] == [0] * size
    return [value for _, _, value in sorted(found, key=lambda one: one[0])]
