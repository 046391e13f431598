"""Every operation of a Communicator, in both forms, against what NumPy computes."""
import job
import pytest

TYPES = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64"]
EXTENSION_TYPES = ["bfloat16", "float8_e4m3fn", "float8_e5m2"]


def _communicator(**settings):
    import tutti

    return tutti.Communicator.from_environment(settings={"TUTTI_TIMEOUT": "30s", **settings}, timeout=30)


def _every_operation():
    import numpy as np

    with _communicator() as comm:
        rank, size = comm.rank, comm.size
        total = size * (size + 1) // 2

        def block(value, count=3):
            return np.full(count, value, np.int32)

        in_place = block(rank + 1)
        assert comm.all_reduce(in_place) is in_place
        assert (in_place == total).all()
        assert (comm.all_reduce(block(rank + 1), block(0), op="max") == size).all()
        reduced = comm.reduce(block(rank + 1), block(0), root=size - 1)
        assert reduced is None if rank < size - 1 else (reduced == total).all()
        assert (comm.broadcast(block(rank), root=1) == 1).all()
        everything = comm.all_gather(block(rank), np.zeros((size, 3), np.int32))
        assert (everything == np.arange(size)[:, None]).all()
        counts = list(range(1, size + 1))
        uneven = comm.all_gather(block(rank, rank + 1), np.zeros(total, np.int32), counts)
        assert (uneven == np.repeat(np.arange(size), counts)).all()
        pieces = np.repeat(np.arange(size, dtype=np.int32), 3)
        assert (comm.reduce_scatter(pieces, block(0)) == rank * size).all()
        some = comm.reduce_scatter(np.ones(total, np.int32), block(0, rank + 1), counts=counts)
        assert (some == size).all()
        sent = np.array([10 * rank + to for to in range(size)], np.int32)
        assert (comm.all_to_all(sent, np.zeros(size, np.int32)) == [10 * of + rank for of in range(size)]).all()
        given = np.full(size * (rank + 1), rank, np.int32)
        taken = comm.all_to_all(given, np.zeros(total, np.int32), [rank + 1] * size, counts)
        assert (taken == np.repeat(np.arange(size), counts)).all()
        gathered = comm.gather(block(rank), np.zeros((size, 3), np.int32) if rank == 0 else None)
        assert gathered is None if rank > 0 else (gathered == np.arange(size)[:, None]).all()
        packed = comm.gather(block(rank, rank + 1), np.zeros(total, np.int32) if rank == 0 else None, counts=counts)
        assert packed is None if rank > 0 else (packed == np.repeat(np.arange(size), counts)).all()
        assert (comm.scatter(pieces if rank == 0 else None, block(0)) == rank).all()
        parts = np.repeat(np.arange(size, dtype=np.int32), counts)
        assert (comm.scatter(parts if rank == 1 else None, block(0, rank + 1), root=1, counts=counts) == rank).all()
        assert comm.barrier() is None
        right, left = (rank + 1) % size, (rank - 1) % size
        request = comm.start_send(block(rank), right)
        assert (comm.receive(block(-1), left) == left).all()
        assert request.wait() is None
        scaled = comm.all_reduce(np.ones(2), op="premultiplied_sum", scalar=rank + 1)
        assert (scaled == total).all()


@pytest.mark.parametrize("size", [2, 4])
def test_every_operation_gives_what_numpy_computes(size):
    job.run(size, _every_operation)


def _every_type(types):
    import ml_dtypes
    import numpy as np

    with _communicator() as comm:
        for name in types:
            dtype = np.dtype(getattr(ml_dtypes, name, name))
            assert (comm.all_reduce(np.ones(5, dtype)) == comm.size).all(), name
        raw = np.frombuffer(np.full(4, 1.5, ml_dtypes.bfloat16).tobytes(), np.uint16).copy()
        comm.all_reduce(raw, datatype="bfloat16")
        assert (raw.view(ml_dtypes.bfloat16) == 1.5 * comm.size).all()
        truth = comm.all_reduce(np.array([comm.rank == 0, False]), op="logical_or")
        assert truth.dtype == bool and list(truth) == [True, False]


def test_every_element_type_is_known():
    job.run(2, _every_type, TYPES + EXTENSION_TYPES)


def _other_buffers():
    import array
    import tutti

    with _communicator() as comm:
        numbers = array.array("d", [1.0, 2.0])
        assert list(comm.all_reduce(numbers)) == [comm.size, 2 * comm.size]
        text = bytearray(b"rank" if comm.rank == 0 else b"....")
        assert comm.broadcast(text) == b"rank"
        shared = memoryview(tutti.Memory(16)).cast("i")
        shared[0] = 1
        assert comm.all_reduce(shared)[0] == comm.size


def test_buffers_need_not_be_numpys():
    job.run(2, _other_buffers)


def _groups():
    import numpy as np
    import tutti

    with _communicator() as comm:
        rank, size = comm.rank, comm.size
        to, of = (rank + 1) % size, (rank - 1) % size
        got = np.zeros(100_000)
        with tutti.group():
            comm.send(np.full(100_000, float(rank)), to)  # held by nobody but the group
            comm.receive(got, of)
            request = comm.start_all_reduce(np.ones(3))
            try:
                request.wait()
                raise AssertionError("a noted operation cannot be waited for")
            except tutti.InvalidError as error:
                assert "group" in str(error)
        assert (got == of).all() and (request.wait() == size).all()
        try:
            with tutti.group():
                comm.send(np.ones(1), size)
        except tutti.InvalidError as error:
            assert "peer" in str(error)
        assert (comm.all_reduce(np.ones(1)) == size).all()


def test_groups_start_together_and_keep_their_buffers():
    job.run(3, _groups)


def _awaits():
    import asyncio

    import numpy as np

    with _communicator() as comm:

        async def work():
            ticks = 0

            async def tick():
                nonlocal ticks
                while True:
                    ticks += 1
                    await asyncio.sleep(0)

            ticker = asyncio.ensure_future(tick())
            requests = [comm.start_all_reduce(np.full(1000, float(i))) for i in range(5)]
            results = await asyncio.gather(*(_value(request) for request in requests))
            ticker.cancel()
            assert [r[0] for r in results] == [i * comm.size for i in range(5)]
            assert ticks > 0

        async def _value(request):
            return await request

        asyncio.run(work())


def test_requests_can_be_awaited():
    job.run(2, _awaits)


def _splits():
    import numpy as np

    with _communicator() as comm:
        half = comm.split(comm.rank % 2, key=-comm.rank, name="half")
        assert half is not None and half.size == comm.size // 2
        assert half.all_reduce(np.array([comm.rank]))[0] == sum(range(comm.rank % 2, comm.size, 2))
        none = comm.split(None if comm.rank == 0 else 0)
        assert (none is None) == (comm.rank == 0)
        again = comm.duplicate()
        assert (again.rank, again.size) == (comm.rank, comm.size)
        assert "predicted" in comm.explain("all_reduce", 1 << 20) and "TUTTI_TIMEOUT" in comm.settings()
        for one in (half, none, again):
            if one is not None:
                one.close()


def test_communicators_split():
    job.run(4, _splits)
