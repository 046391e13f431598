"""Shared state, agreements, and members that go and come, from Python."""
import job
import pytest


def _synchronizes():
    import numpy as np
    import tutti

    with tutti.Communicator.from_environment() as comm:
        weights, steps = np.full(100_000, float(comm.rank)), np.array(comm.rank)
        state = tutti.State()
        state.add("weights", weights)
        state.add("steps", steps)
        assert state.revision == 0
        state.revision = comm.rank + 5
        report = state.synchronize(comm, timeout=30)
        last = comm.size - 1
        assert (weights == last).all() and steps == last and state.revision == last + 5
        assert report["receivers"] == last and (report["bytes_received"] > 0) == (comm.rank < last)
        weights[7] += comm.rank
        with pytest.raises(tutti.InvalidError, match="weights"):
            state.synchronize(comm, strict=True)
        with pytest.raises(tutti.InvalidError):
            state.add("weights", np.zeros(3))
        with pytest.raises(tutti.InvalidError):
            state.add("list", [1, 2])
        state.remove("weights")
        state.synchronize(comm)


def test_a_state_is_brought_to_all():
    job.run(3, _synchronizes)


def _goes_and_comes():
    import numpy as np
    import tutti

    settings = {"TUTTI_ELASTIC": "on", "TUTTI_TIMEOUT": "30s"}
    comm = tutti.Communicator.from_environment(settings=settings)
    comm.agree(timeout=30)
    assert comm.slot == comm.rank
    went = comm.rank == 1
    if went:
        comm.leave()
        assert comm.closed
        comm = tutti.Communicator.join(settings=settings)
    else:
        with pytest.raises(tutti.AbortedError, match="leaves"):
            while True:
                comm.all_reduce(np.ones(10))
        comm.refresh(admit=False)
        assert comm.size == 2
        while comm.epoch == 1:
            comm.grow(timeout=30)
    assert comm.size == 3 and comm.slot == (1 if went else [0, 2][comm.rank])
    assert (comm.all_reduce(np.ones(3)) == 3).all()
    comm.close()


def test_a_member_leaves_and_joins_again():
    job.run(3, _goes_and_comes)
