"""What goes wrong, and how a Python program sees it."""
import os
import signal
import subprocess
import sys
import threading
import time

import job
import pytest


def _communicator(**settings):
    import tutti

    return tutti.Communicator.from_environment(settings={"TUTTI_TIMEOUT": "30s", **settings}, timeout=30)


def _wrong_arguments():
    import numpy as np
    import tutti

    with _communicator() as comm:
        size = comm.size
        wrong = [
            ("complex", lambda: comm.all_reduce(np.zeros(3, complex))),
            ("contiguous", lambda: comm.all_reduce(np.zeros((4, 4))[:, 1])),
            ("list", lambda: comm.all_reduce([1, 2])),
            ("writable", lambda: comm.all_reduce(b"bytes")),
            ("no reduction", lambda: comm.all_reduce(np.zeros(2), op="sun")),
            ("logical_or", lambda: comm.all_reduce(np.zeros(2, bool))),
            ("3 elements", lambda: comm.all_reduce(np.zeros(2), np.zeros(3))),
            ("types differ", lambda: comm.all_reduce(np.zeros(2), np.zeros(2, "f4"))),
            ("one for each rank", lambda: comm.all_gather(np.zeros(2), np.zeros(3))),
            ("entries", lambda: comm.all_gather(np.zeros(2), np.zeros(3), [3])),
            ("sum up", lambda: comm.all_gather(np.zeros(2), np.zeros(3), [2] * size)),
            ("root", lambda: comm.broadcast(np.zeros(1), root=size)),
            ("peer", lambda: comm.send(np.zeros(1), -1)),
            ("datatype=", lambda: comm.all_reduce(np.zeros(2), datatype="bfloat16")),
            ("no element type", lambda: comm.all_reduce(np.zeros(2), datatype="float31")),
            ("scalar", lambda: comm.all_reduce(np.zeros(2), scalar=2.0)),
            ("not a number", lambda: comm.all_reduce(np.zeros(2), timeout=float("nan"))),
            ("algorithm", lambda: comm.all_reduce(np.zeros(2), algorithm="magic")),
            ("unique id", lambda: tutti.Communicator.from_id(2, 0, b"short")),
            ("TUTTI_NONSENSE", lambda: comm.from_environment(settings={"TUTTI_NONSENSE": 1})),
        ]
        for word, call in wrong:
            with pytest.raises(tutti.InvalidError) as caught:
                call()
            if word != "complex":
                assert word in str(caught.value), (word, str(caught.value))
            assert isinstance(caught.value, ValueError)
        assert (comm.all_reduce(np.ones(2)) == size).all(), "as good as before"
    with pytest.raises(tutti.InvalidError, match="closed"):
        comm.barrier()


def test_wrong_arguments_are_named_and_change_nothing():
    job.run(2, _wrong_arguments)


def _one_dies():
    import numpy as np
    import tutti

    comm = _communicator()
    comm.barrier()
    if comm.rank == 1:
        os._exit(0)
    with pytest.raises(tutti.PeerLostError) as caught:
        comm.all_reduce(np.ones(10))
    assert caught.value.rank == 1 and "rank 1" in str(caught.value)
    assert isinstance(caught.value, ConnectionError)
    with pytest.raises(tutti.PeerLostError):
        comm.check()
    comm.close()


def _survivor_of_two(results):
    try:
        _one_dies()
        results.put(None)
    except BaseException as error:  # noqa: BLE001
        results.put(repr(error))


def test_a_lost_peer_is_named():
    import multiprocessing

    context = multiprocessing.get_context("fork")
    results = context.Queue()
    store = f"tcp://127.0.0.1:{job.free_port()}"
    ranks = []
    for rank in range(2):
        os.environ.update({"TUTTI_RANK": str(rank), "TUTTI_SIZE": "2", "TUTTI_STORE": store})
        ranks.append(context.Process(target=_survivor_of_two, args=(results,)))
        ranks[-1].start()
    assert results.get(timeout=60) is None
    for process in ranks:
        process.join(timeout=10)


def _times_out():
    import numpy as np
    import tutti

    comm = _communicator()
    comm.barrier()
    if comm.rank == 0:
        request = comm.start_all_reduce(np.ones(10))
        begin = time.monotonic()
        with pytest.raises(TimeoutError):
            request.wait(timeout=0.2)
        assert time.monotonic() - begin >= 0.2 and not request.done()
        with pytest.raises(tutti.TimeoutError, match="rank 1"):
            comm.barrier(timeout=0.3)
    else:
        time.sleep(1.5)
    comm.close()


def test_deadlines_hold_and_name_who_is_missing():
    job.run(2, _times_out)


def _raises_in_the_block():
    import numpy as np
    import tutti

    with pytest.raises((KeyError, tutti.AbortedError)) as caught:
        with _communicator() as comm:
            comm.barrier()
            if comm.rank == 0:
                raise KeyError("somebody's bug")
            comm.all_reduce(np.ones(1))
    if isinstance(caught.value, tutti.AbortedError):
        assert "somebody's bug" in str(caught.value)


def test_an_exception_in_the_block_reaches_the_others_at_once():
    begin = time.monotonic()
    job.run(3, _raises_in_the_block)
    assert time.monotonic() - begin < 25, "nobody waited for the deadline"


def _is_interrupted():
    import numpy as np
    import tutti

    comm = _communicator()
    comm.barrier()
    if comm.rank == 0:
        buffer = np.ones(1000)
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        begin = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            comm.all_reduce(buffer)
        assert time.monotonic() - begin < 10
        del buffer  # Tutti keeps it until the operation is complete
        comm.barrier()
    else:
        time.sleep(1)
        assert (comm.all_reduce(np.ones(1000)) == comm.size).all(), "the interrupted operation went on"
        comm.barrier()
    comm.close()


def test_ctrl_c_ends_a_wait_but_not_the_operation():
    job.run(2, _is_interrupted)


def _closed_by_another_thread():
    import numpy as np
    import tutti

    comm = _communicator()
    comm.barrier()
    if comm.rank == 0:
        threading.Timer(0.3, comm.close).start()
        with pytest.raises(tutti.AbortedError):
            comm.all_reduce(np.ones(10))
        assert comm.closed
    else:
        time.sleep(0.6)
        with pytest.raises((tutti.AbortedError, tutti.PeerLostError)):
            comm.all_reduce(np.ones(10))
        comm.close()


def test_a_communicator_can_be_closed_under_an_operation():
    job.run(2, _closed_by_another_thread)


PROGRAM_THAT_ENDS = """
import contextlib, numpy, tutti
comm = tutti.Communicator.from_environment()
requests = []
with contextlib.suppress(tutti.Error):  # the other one may have ended already
    comm.barrier()
    requests = [comm.start_all_reduce(numpy.ones(1000)) for _ in range(3)] if comm.rank == 0 else []
    comm.start_receive(numpy.ones(10), 1 - comm.rank)
print("ends")
"""


def test_the_interpreter_ends_with_operations_in_flight():
    environment = {**os.environ, "TUTTI_SIZE": "2", "TUTTI_STORE": f"tcp://127.0.0.1:{job.free_port()}"}
    ranks = [
        subprocess.Popen([sys.executable, "-c", PROGRAM_THAT_ENDS], env={**environment, "TUTTI_RANK": str(rank)},
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    for process in ranks:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (0, "ends\n") and "Traceback" not in err, err


def _forks():
    import tutti

    comm = _communicator()
    child = os.fork()
    if child == 0:
        try:
            comm.barrier()
        except tutti.InvalidError as error:
            os._exit(0 if "fork" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    comm.barrier()
    comm.close()


def test_a_forked_child_is_told():
    job.run(2, _forks)


def _recovers():
    import numpy as np
    import tutti

    comm = _communicator(TUTTI_ELASTIC="on")
    comm.barrier()
    if comm.rank == 1:
        comm.close()
        return None
    values = np.ones(4)
    try:
        while True:
            comm.all_reduce(values.copy())
    except tutti.Error:
        comm.refresh()
    assert comm.size == 2 and comm.epoch == 1
    assert (comm.all_reduce(values) == 2).all()
    comm.close()
    return None


def test_the_others_go_on():
    job.run(3, _recovers)
