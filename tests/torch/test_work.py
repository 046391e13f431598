"""Work, Future, errors, deadlines, ends: what a program sees of an operation besides its result."""
import datetime
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import ranks
import torch
import torch.distributed as dist


def seconds(number):
    return datetime.timedelta(seconds=number)


def _futures():
    rank, size = dist.get_rank(), dist.get_world_size()
    work = dist.all_reduce(torch.ones(1000), async_op=True)
    future = work.get_future().then(lambda done: done.value()[0] / size)
    assert (future.wait() == 1).all()
    assert work.is_completed() and work.is_success() and work.wait()
    # A callback may start a collective and wait for it.
    def again(done):
        tensor = done.value()[0]
        dist.all_reduce(tensor)
        return tensor

    chained = dist.all_reduce(torch.ones(10), async_op=True).get_future().then(again)
    assert (chained.wait() == size * size).all()
    # Nobody waits: the memory is kept, the result arrives.
    strided = torch.ones(100, 2)[:, 0]
    dist.all_reduce(strided, async_op=True)
    dropped = torch.ones(100_000)
    dist.all_reduce(dropped, async_op=True)
    end = time.monotonic() + 20
    while not (strided == size).all() and time.monotonic() < end:
        time.sleep(0.001)
    assert (strided == size).all()
    dist.barrier()
    # The order of calls holds where they use the same memory.
    tensor = torch.ones(200_000)
    works = [dist.all_reduce(tensor, async_op=True) for _ in range(4)]
    for work in reversed(works):
        work.wait()
    assert (tensor == size**4).all()
    # Several at once, and the caller computes meanwhile.
    tensors = [torch.full((50_000,), float(i)) for i in range(20)]
    works = [dist.all_reduce(tensor, async_op=True) for tensor in tensors]
    for i, work in enumerate(works):
        work.wait()
        assert (tensors[i] == i * size).all()
    received = torch.empty(3)
    if rank == 0:
        for _ in range(size - 1):
            work = dist.irecv(received)
            work.wait()
            assert work._source_rank() == received[0]
    else:
        dist.send(torch.full((3,), float(rank)), 0)


def test_futures_and_order():
    ranks.run(2, _futures)
    ranks.run(3, _futures)


def _profile():
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as seen:
        dist.all_reduce(torch.ones(4))
        dist.broadcast(torch.ones(4), 0)
        dist.all_gather([torch.ones(4) for _ in range(dist.get_world_size())], torch.ones(4))
        work = dist.all_reduce(torch.ones(4), async_op=True)
        work.wait()
    names = [event.name for event in seen.events()]
    assert names.count("tutti:all_reduce") == 2 and "tutti:broadcast" in names and "tutti:all_gather" in names, names


def test_profiles_show_operations():
    ranks.run(2, _profile)


def _groups():
    rank, size = dist.get_rank(), dist.get_world_size()
    assert dist.get_backend() == "tutti"
    evens = dist.new_group([r for r in range(size) if r % 2 == 0])
    odds = dist.new_group([r for r in range(size) if r % 2 == 1])
    mine = evens if rank % 2 == 0 else odds
    tensor = torch.ones(10)
    dist.all_reduce(tensor, group=mine)
    assert (tensor == mine.size()).all()
    alone = dist.new_group([rank], use_local_synchronization=True)
    dist.all_reduce(tensor, group=alone)
    assert (tensor == mine.size()).all()
    # Two groups with the same members, used by two threads at once.
    others = [dist.new_group() for _ in range(2)]

    def work(group):
        for i in range(50):
            tensor = torch.full((100,), float(i))
            dist.all_reduce(tensor, group=group)
            assert (tensor == i * size).all()

    threads = [threading.Thread(target=work, args=(group,)) for group in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    dist.destroy_process_group(evens if rank % 2 == 0 else odds)
    dist.barrier()
    from torch.distributed.device_mesh import init_device_mesh

    mesh = init_device_mesh("cpu", (size // 2, 2), mesh_dim_names=("rows", "columns"))
    tensor = torch.ones(3)
    dist.all_reduce(tensor, group=mesh["columns"].get_group())
    assert (tensor == 2).all()
    dist.barrier()  # rank 0 holds torch's store, which others may still need to make their columns


def test_groups_of_some_ranks():
    ranks.run(4, _groups)


def _again(times):
    store_port = int(os.environ["MASTER_PORT"])
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    store = dist.TCPStore("127.0.0.1", store_port, size, rank == 0)
    for _ in range(times):
        # The store keeps the keys of the time before.
        dist.init_process_group("tutti", store=store, rank=rank, world_size=size)
        tensor = torch.ones(3)
        dist.all_reduce(tensor)
        assert (tensor == size).all()
        dist.new_group([0, 1])
        dist.destroy_process_group()
    store.add("gone", 1)
    while rank == 0 and int(store.get("gone")) < size:
        time.sleep(0.01)


def test_destroyed_and_made_again_in_one_store():
    ranks.run(3, _again, 4, backend=None)


def _mixed(backend):
    assert dist.is_initialized()
    tensor = torch.ones(3)
    dist.all_reduce(tensor)
    assert (tensor == dist.get_world_size()).all(), backend


def test_by_device_and_with_details(monkeypatch):
    ranks.run(2, _mixed, "cpu:tutti", backend="cpu:tutti")
    monkeypatch.setenv("TORCH_DISTRIBUTED_DEBUG", "DETAIL")
    ranks.run(2, _mixed, "tutti")


def _mismatch():
    import tutti
    import tutti.torch

    with pytest.raises(dist.DistBackendError, match=r"count 4.*count 5|count 5.*count 4"):
        dist.all_reduce(torch.ones(4 + dist.get_rank()))
        dist.barrier()
    assert isinstance(tutti.torch.error(), tutti.InvalidError)


def test_unlike_calls_are_errors_on_all():
    ranks.run(2, _mismatch)


def _wrong_arguments():
    size = dist.get_world_size()
    wrong = [
        lambda: dist.all_gather_into_tensor(torch.empty(size * 3 + 1), torch.empty(3)),
        lambda: dist.all_gather([torch.empty(3) for _ in range(size)], torch.empty(4)),
        lambda: dist.reduce_scatter_tensor(torch.empty(3), torch.empty(size * 3 + 1)),
        lambda: dist.all_to_all_single(torch.empty(size + 1), torch.empty(size + 1)),
        lambda: dist.all_to_all_single(torch.empty(3), torch.empty(3), [3] * size, [1] * size),
        lambda: dist.all_gather([torch.empty(3, dtype=torch.int32) for _ in range(size)], torch.empty(3)),
        lambda: dist.all_reduce(torch.ones(3, dtype=torch.float8_e4m3fnuz)),
        lambda: dist.broadcast(torch.ones(3), src=7),
    ]
    for call in wrong:
        with pytest.raises((RuntimeError, ValueError)):
            call()
    tensor = torch.ones(3)
    dist.all_reduce(tensor)
    assert (tensor == size).all(), "as good as before"
    # A message of another size is an error of that receive alone.
    if dist.get_rank() == 0:
        dist.send(torch.ones(5), 1)
        dist.send(torch.ones(3), 1)
    elif dist.get_rank() == 1:
        with pytest.raises(dist.DistBackendError, match="20 bytes.*12"):
            dist.recv(torch.empty(3), 0)
        dist.recv(tensor, 0)
    dist.barrier()


def test_wrong_arguments_change_nothing():
    ranks.run(2, _wrong_arguments)


def _deadlines():
    """Each step begins when the other rank has said so in torch's store: what is late is so however slow the machine."""
    import tutti
    import tutti.torch

    rank = dist.get_rank()
    store = dist.PrefixStore("steps", dist.distributed_c10d._get_default_store())
    group = dist.new_group(timeout=seconds(60))  # which its creation may take, too
    if rank == 0:
        tutti.torch.set_timeout(seconds(1), group)
        with pytest.raises(dist.DistBackendError, match=r" Timed out .*rank 1"):
            dist.recv(torch.empty(3), 1, group=group)
        tutti.torch.set_timeout(seconds(60), group)
        store.set("receive", "")
        dist.send(torch.ones(3), 1, group=group)  # the group is as good as before
        tutti.torch.set_timeout(seconds(1), group)
        work = dist.all_reduce(torch.ones(3), group=group, async_op=True)
        with pytest.raises(dist.DistBackendError, match=r" Timed out "):
            work.wait(seconds(0.1))
        with pytest.raises(dist.DistBackendError, match=r" Timed out .*rank 1"):
            work.wait()
        assert work.is_completed() and not work.is_success()
        with pytest.raises(dist.DistBackendError):
            dist.all_reduce(torch.ones(3), group=group)
        error = tutti.torch.error(group)
        assert isinstance(error, tutti.TimeoutError) and error.rank == 1
        store.set("reduce", "")
        future = dist.all_reduce(torch.ones(3), async_op=True).get_future()
        assert (future.wait()[0] == 2).all(), "the other group is as good as before"
    else:
        store.wait(["receive"])
        dist.recv(torch.empty(3), 0, group=group)
        store.wait(["reduce"])
        with pytest.raises(dist.DistBackendError):
            # The first may come to its end here: rank 0 had given its part before it ran out of time.
            for _ in range(2):
                dist.all_reduce(torch.ones(3), group=group)
        tensor = torch.ones(3)
        dist.all_reduce(tensor)
    dist.barrier()
    if rank == 0:
        tutti.torch.set_timeout(seconds(1))
        future = dist.all_reduce(torch.ones(3), async_op=True).get_future()
        with pytest.raises(Exception, match="Timed out"):
            future.wait()
        store.set("over", "")
        store.wait(["seen"])  # rank 0 serves the store, and must not leave before
    else:
        store.wait(["over"])
        store.set("seen", "")


def test_deadlines_hold_and_name_who_is_missing():
    ranks.run(2, _deadlines)


def _killed(how):
    rank = dist.get_rank()
    dist.barrier()
    if rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    begin = time.monotonic()
    with pytest.raises(dist.DistBackendError, match=r"closed .*rank 1"):
        if how == "all_reduce":
            dist.all_reduce(torch.ones(10))
        elif how == "future":
            raise_from = dist.all_reduce(torch.ones(10), async_op=True).get_future()
            try:
                raise_from.wait()
            except RuntimeError as error:
                raise dist.DistBackendError(str(error)) from error
        else:
            dist.recv(torch.empty(3), 1)
    assert time.monotonic() - begin < 10
    begin = time.monotonic()
    dist.destroy_process_group()
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize("how", ["all_reduce", "future", "recv"])
def test_a_killed_rank_is_named_at_once(how):
    ranks.run(3, _killed, how, killed=(1,))


def _aborted():
    rank = dist.get_rank()
    if rank == 0:
        group = dist.group.WORLD
        threading.Timer(0.5, lambda: group._get_backend(torch.device("cpu")).abort()).start()
        begin = time.monotonic()
        with pytest.raises(dist.DistBackendError, match="abort"):
            dist.all_reduce(torch.ones(10))
        assert time.monotonic() - begin < 10
    else:
        with pytest.raises(dist.DistBackendError, match="abort"):
            dist.recv(torch.empty(1), 0)
    begin = time.monotonic()
    dist.destroy_process_group()
    assert time.monotonic() - begin < 5


def test_an_abort_ends_a_hang():
    ranks.run(2, _aborted)


def _shut_down_by_another_thread():
    if dist.get_rank() == 0:
        threading.Timer(0.5, dist.destroy_process_group).start()
        with pytest.raises(dist.DistBackendError):
            dist.recv(torch.empty(1), 1)
        time.sleep(0.2)
    else:
        time.sleep(1.5)


def test_a_group_that_another_thread_destroys_ends_its_waits():
    ranks.run(2, _shut_down_by_another_thread)


def _interrupted():
    dist.barrier()
    if dist.get_rank() == 0:
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        begin = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            dist.all_reduce(torch.ones(1000))
        assert time.monotonic() - begin < 10
    else:
        time.sleep(1)
        tensor = torch.ones(1000)
        dist.all_reduce(tensor)
        assert (tensor == 2).all(), "the interrupted operation went on"
    dist.barrier()


def test_ctrl_c_ends_a_wait_but_not_the_operation():
    ranks.run(2, _interrupted)


def _leaves_first():
    """A receive from anybody asks all; that one of them leaves then is no error of the others."""
    rank = dist.get_rank()
    received = torch.empty(2)
    if rank == 0:
        assert dist.recv(received) == 1
    elif rank == 1:
        dist.send(torch.ones(2), 0)
    dist.barrier()
    if rank == 2:
        dist.destroy_process_group()
        return
    time.sleep(0.3)
    if rank == 0:
        assert dist.recv(received) == 1
        dist.send(received, 1)
    else:
        dist.send(torch.ones(2), 0)
        dist.recv(received, 0)


def test_who_leaves_early_disturbs_nobody():
    ranks.run(3, _leaves_first)


def _splits():
    """What dist.split_group calls, which itself asks for an accelerator."""
    rank, size = dist.get_rank(), dist.get_world_size()
    members = [0, 2]
    part = dist.group.WORLD.split_group(members)
    if rank in members:
        assert (part.rank(), part.size()) == (members.index(rank), 2)
        tensor = torch.full((3,), float(rank))
        part.allreduce([tensor]).wait()
        assert (tensor == 2).all()
    else:
        assert part is None
    tensor = torch.ones(3)
    dist.all_reduce(tensor)
    assert (tensor == size).all(), "the parent is as good as before"


def test_a_backend_splits():
    ranks.run(3, _splits)


def _completion_hooks():
    group = dist.group.WORLD
    ended, all_ended = [], threading.Event()

    def note(info):
        ended.append((str(info.op_type), info.active_duration))
        if len(ended) == 3:
            all_ended.set()

    group._register_on_completion_hook(note)
    with pytest.raises(RuntimeError, match="already"):
        group._register_on_completion_hook(note)
    dist.all_reduce(torch.ones(3))
    dist.broadcast(torch.ones(3), 0)
    work = dist.all_reduce(torch.ones(100_000), async_op=True)
    group._wait_for_pending_works()
    assert work.is_completed()
    assert all_ended.wait(30), ended
    assert sorted(kind for kind, _ in ended) == ["OpType.ALLREDUCE", "OpType.ALLREDUCE", "OpType.BROADCAST"]
    assert all(duration >= datetime.timedelta(0) for _, duration in ended)


def test_completion_hooks_hear_of_every_operation():
    ranks.run(2, _completion_hooks)


def _allocates():
    size = dist.get_world_size()
    backend = dist.group.WORLD._get_backend(torch.device("cpu"))
    assert backend.supports_tensor_alloc(torch.device("cpu"))
    for kind in (torch.float32, torch.bfloat16):
        tensor = backend.allocate_tensor(300_000, dtype=kind, device=torch.device("cpu"))
        assert tensor.shape == (300_000,) and tensor.dtype == kind
        tensor.fill_(1)
        other = tensor[1:]
        dist.all_reduce(tensor)
        assert (tensor == size).all()
        del tensor  # the view keeps the memory
        dist.broadcast(other, 0)
        assert (other == size).all()


def test_memory_from_the_backend():
    ranks.run(2, _allocates)


def _by_default():
    import tutti.torch

    assert dist.Backend.default_device_backend_map["cpu"] == "gloo"
    tutti.torch.use_by_default()
    dist.init_process_group(rank=int(os.environ["RANK"]), world_size=int(os.environ["WORLD_SIZE"]))
    tensor = torch.ones(3)
    dist.all_reduce(tensor)
    assert dist.group.WORLD._get_backend(torch.device("cpu")).name() == "tutti"
    assert (tensor == dist.get_world_size()).all()


def test_tutti_is_taken_where_nobody_names_a_backend():
    ranks.run(2, _by_default, backend=None)


def _shrinks():
    rank, size = dist.get_rank(), dist.get_world_size()
    if rank != size - 1:
        smaller = dist.shrink_group([size - 1])
        tensor = torch.ones(3)
        dist.all_reduce(tensor, group=smaller)
        assert (tensor == size - 1).all()


def test_a_group_shrinks():
    ranks.run(3, _shrinks)


_EXITS = """
import torch, torch.distributed as dist
dist.init_process_group("tutti")
if dist.get_rank() == 0:
    reduced = dist.all_reduce(torch.ones(100), async_op=True)
    raise KeyError("somebody's bug")
received = dist.irecv(torch.ones(100), 0)
print("left")
"""


def test_the_interpreter_ends_with_operations_in_flight(tmp_path):
    program = tmp_path / "exits.py"
    program.write_text(_EXITS)
    port = str(ranks.free_port())
    begin = time.monotonic()
    started = [
        subprocess.Popen(
            [sys.executable, str(program)],
            env={**os.environ, "RANK": str(r), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for r in range(2)
    ]
    for rank, process in enumerate(started):
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == [(1, ""), (0, "left\n")][rank], err
        assert ("somebody's bug" in err) == (rank == 0), err
    assert time.monotonic() - begin < 40


def _forks():
    dist.barrier()
    child = os.fork()
    if child == 0:
        try:
            dist.all_reduce(torch.ones(3))
        except RuntimeError as error:
            os._exit(0 if "fork" in str(error) else 2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    tensor = torch.ones(3)
    dist.all_reduce(tensor)
    assert (tensor == dist.get_world_size()).all()


def test_a_forked_child_is_refused():
    ranks.run(2, _forks)
