"""Groups whose members change: torch's reconfigure contract, which torch has from 2.14 on. Skipped before."""
import datetime
import os
import signal

import pytest
import ranks
import torch
import torch.distributed as dist

pytestmark = pytest.mark.skipif(
    not hasattr(dist, "_reconfigure"), reason=f"torch {torch.__version__} has no reconfigure; 2.14 is the first with it"
)


def _handles(store, members):
    return [store.get(f"handle{rank}").decode() for rank in members]


def _sum_of_ones():
    tensor = torch.ones(3)
    dist.all_reduce(tensor)
    return float(tensor[0])


def _lives(backend):
    me = int(os.environ["RANK"])
    store = dist.TCPStore("127.0.0.1", int(os.environ["MASTER_PORT"]), None, me == 0, wait_for_workers=False)
    limit = datetime.timedelta(seconds=20)
    dist.init_process_group(backend, store=store, rank=me, world_size=4, timeout=limit, enable_reconfigure=True)
    assert dist._supports_reconfigure()
    if backend == "tutti":
        with pytest.raises(RuntimeError, match="reconfigure"):
            dist.all_reduce(torch.ones(3))
    store.set(f"handle{me}", dist._get_reconfigure_handle())
    if me < 3:
        # The ranks are those of the list.
        dist._reconfigure(uuid=1, handles=_handles(store, [2, 0, 1])).wait()
        assert (dist.get_rank(), dist.get_world_size()) == ([1, 2, 0][me], 3)
        assert _sum_of_ones() == 3
        if me == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        with pytest.raises(RuntimeError):
            _sum_of_ones()
            _sum_of_ones()
        # Those who are left go on.
        dist._reconfigure(uuid=2, handles=_handles(store, [0, 1]), timeout=limit).wait()
        assert (dist.get_rank(), dist.get_world_size()) == (me, 2)
        assert _sum_of_ones() == 2
    # Somebody joins them; the ranks are nobody's affair.
    dist._reconfigure(uuid=3, handles=set(_handles(store, [0, 1, 3]))).wait()
    assert _sum_of_ones() == dist.get_world_size() == 3
    seen = torch.zeros(3)
    seen[dist.get_rank()] = 1
    dist.all_reduce(seen)
    assert (seen == 1).all()
    if backend == "tutti":
        _refusals(store)
    store.add("done", 1)
    while me == 0 and int(store.get("done")) < 3:
        pass


def _refusals(store):
    with pytest.raises(RuntimeError, match="uuid 3"):
        dist._reconfigure(uuid=3, handles=_handles(store, [0, 1, 3]))
    with pytest.raises(RuntimeError, match="none is this process's"):
        dist._reconfigure(uuid=4, handles=["somebody's"])
    with pytest.raises(RuntimeError, match="twice"):
        dist._reconfigure(uuid=5, handles=[dist._get_reconfigure_handle()] * 2)
    assert _sum_of_ones() == 3, "as good as before"
    with pytest.raises(dist.DistBackendError, match="rank 1"):
        dist._reconfigure(
            uuid=6, handles=[dist._get_reconfigure_handle(), "nobody"], timeout=datetime.timedelta(seconds=0.3)
        )
    with pytest.raises(RuntimeError, match="reconfigure"):
        _sum_of_ones()
    dist._reconfigure(uuid=7, handles=_handles(store, [3, 1, 0])).wait()
    assert _sum_of_ones() == 3


def test_a_group_goes_on_without_the_dead_and_with_who_joins():
    ranks.run(4, _lives, "tutti", backend=None, killed=(2,))
