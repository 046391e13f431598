"""Every collective of torch.distributed, over types, shapes and layouts, against what it is defined to give."""
import datetime

import pytest
import ranks
import torch
import torch.distributed as dist
from torch.distributed import ReduceOp

FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
SMALL_FLOATS = [torch.float8_e4m3fn, torch.float8_e5m2]
INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32, torch.uint64]
COMPLEX = [torch.complex64, torch.complex128]
# Types that Tutti knows nothing of are moved as bytes.
OTHERS = [torch.bool, torch.float8_e4m3fnuz, torch.complex32]
SHAPES = [(0,), (), (1,), (5,), (3, 4), (1000,), (2, 0, 3)]


def rank():
    return dist.get_rank()


def size():
    return dist.get_world_size()


def content(of, shape, dtype):
    """What rank `of` has: small numbers, whose sums and products every type holds exactly."""
    count = torch.Size(shape).numel()
    numbers = (torch.arange(count) * 3 + of * 7) % 2 + (1 if dtype not in (torch.bool,) else 0)
    return numbers.to(torch.float32).to(dtype).reshape(shape)


def layouts(tensor):
    """The tensor's content in memory of every kind: plain, at an offset, with gaps, transposed."""
    yield tensor.clone()
    room = torch.zeros(tensor.numel() + 3, dtype=tensor.dtype)
    at_offset = room[3:].view(tensor.shape)
    at_offset.copy_(tensor)
    yield at_offset
    gaps = torch.zeros((*tensor.shape, 2), dtype=tensor.dtype)[..., 1]
    gaps.copy_(tensor)
    yield gaps
    if tensor.dim() == 2:
        turned = torch.zeros(tensor.shape[::-1], dtype=tensor.dtype).t()
        turned.copy_(tensor)
        yield turned


def same(one, other):
    """Equal to the bit, whatever the type."""
    assert one.shape == other.shape and one.dtype == other.dtype, (one, other)
    as_bytes = [torch.empty(t.numel(), dtype=t.dtype).copy_(t.reshape(-1)).view(torch.uint8) for t in (one, other)]
    assert torch.equal(*as_bytes), (one, other)


def folded(dtype, shape, op):
    everybody = torch.stack([content(r, shape, dtype).to(torch.float64) for r in range(size())])
    result = {
        ReduceOp.SUM: everybody.sum(0),
        ReduceOp.AVG: everybody.sum(0) / size(),
        ReduceOp.PRODUCT: everybody.prod(0),
        ReduceOp.MIN: everybody.amin(0),
        ReduceOp.MAX: everybody.amax(0),
    }[op]
    return (result if dtype.is_floating_point else result.trunc()).to(dtype)


def _all_reduce():
    for dtype in FLOATS + SMALL_FLOATS + INTEGERS:
        for shape in SHAPES:
            for op in (ReduceOp.SUM, ReduceOp.PRODUCT, ReduceOp.MIN, ReduceOp.MAX, ReduceOp.AVG):
                tensor = content(rank(), shape, dtype)
                dist.all_reduce(tensor, op)
                same(tensor, folded(dtype, shape, op))
    for shape in SHAPES:
        for tensor in layouts(content(rank(), shape, torch.float32)):
            dist.all_reduce(tensor)
            same(tensor, folded(torch.float32, shape, ReduceOp.SUM))
    # Where sums are not exact, all ranks have the same bits.
    torch.manual_seed(rank())
    for dtype in FLOATS:
        tensor = torch.randn(10001).to(dtype)
        dist.all_reduce(tensor)
        everybody = [torch.empty_like(tensor) for _ in range(size())]
        dist.all_gather(everybody, tensor)
        for other in everybody:
            same(other, tensor)


def _unusual_reductions():
    bits = torch.tensor([1 << rank(), 3, 0], dtype=torch.int32)
    for op, expected in (
        (ReduceOp.BOR, [(1 << size()) - 1, 3, 0]),
        (ReduceOp.BAND, [0 if size() > 1 else 1, 3, 0]),
        (ReduceOp.BXOR, [(1 << size()) - 1, 3 * (size() % 2), 0]),
    ):
        tensor = bits.clone()
        dist.all_reduce(tensor, op)
        assert tensor.tolist() == expected, (op, tensor)
    truth = torch.tensor([rank() == 0, True, False])
    for op, expected in ((ReduceOp.SUM, [True, True, False]), (ReduceOp.PRODUCT, [size() == 1, True, False])):
        tensor = truth.clone()
        dist.all_reduce(tensor, op)
        assert tensor.tolist() == expected, (op, tensor)
    for dtype in COMPLEX:
        tensor = torch.full((3,), complex(rank() + 1, 2), dtype=dtype)
        dist.all_reduce(tensor)
        same(tensor, torch.full((3,), complex(size() * (size() + 1) // 2, 2 * size()), dtype=dtype))
    tensor = torch.full((4,), 2.0)
    dist.all_reduce(tensor, dist._make_nccl_premul_sum(0.5))
    assert (tensor == size()).all()
    tensor = torch.full((4,), 2.0, dtype=torch.float64)
    dist.all_reduce(tensor, dist._make_nccl_premul_sum(torch.tensor([float(rank())], dtype=torch.float64)))
    assert (tensor == size() * (size() - 1)).all()
    for wrong in (lambda: dist.all_reduce(torch.ones(2), ReduceOp.BAND), lambda: dist.all_reduce(truth, ReduceOp.AVG)):
        with pytest.raises(RuntimeError, match="tutti"):
            wrong()
    sparse = torch.sparse_coo_tensor([[rank(), size()]], [1.0, float(rank())], (size() + 2,))
    dist.all_reduce(sparse)
    assert sparse.to_dense().tolist() == [1.0] * size() + [size() * (size() - 1) / 2, 0.0]
    empty = torch.sparse_coo_tensor(torch.zeros((1, 0), dtype=torch.int64), torch.zeros((0, 2)), (4, 2))
    dist.all_reduce(empty)
    assert empty.to_dense().sum() == 0


def _coalesced():
    tensors = [content(rank(), shape, torch.float32) for shape in SHAPES]
    dist.all_reduce_coalesced(tensors)
    for tensor, shape in zip(tensors, SHAPES):
        same(tensor, folded(torch.float32, shape, ReduceOp.SUM))
    inputs = [content(rank(), shape, torch.float32) for shape in SHAPES]
    outputs = [[torch.empty(shape) for shape in SHAPES] for _ in range(size())]
    dist.all_gather_coalesced(outputs, inputs)
    for r in range(size()):
        for tensor, shape in zip(outputs[r], SHAPES):
            same(tensor, content(r, shape, torch.float32))
    with dist._coalescing_manager(device=torch.device("cpu"), async_ops=True) as manager:
        one, two = torch.ones(3), torch.ones(4)
        dist.all_reduce(one)
        dist.all_reduce(two)
    manager.wait()
    assert (one == size()).all() and (two == size()).all()
    with dist._coalescing_manager(async_ops=True) as manager:
        gathered = [torch.empty(size() * 2), torch.empty(size() * 3)]
        for tensor in gathered:
            dist.all_gather_into_tensor(tensor, torch.full((len(tensor) // size(),), float(rank())))
    manager.wait()
    for tensor in gathered:
        same(tensor, torch.arange(float(size())).repeat_interleave(len(tensor) // size()))
    scattered = [torch.empty(2), torch.empty(3)]
    with dist._coalescing_manager(async_ops=True) as manager:
        for tensor in scattered:
            dist.reduce_scatter_tensor(tensor, torch.arange(float(size())).repeat_interleave(len(tensor)))
    manager.wait()
    for tensor in scattered:
        assert (tensor == rank() * size()).all()


def _to_and_from_one():
    for dtype in FLOATS + SMALL_FLOATS + INTEGERS + COMPLEX + OTHERS:
        for root in range(size()):
            for shape in ((5,), (), (0,), (3, 4)):
                for tensor in layouts(content(rank(), shape, dtype)):
                    dist.broadcast(tensor, root)
                    same(tensor.contiguous(), content(root, shape, dtype))
    for root in range(size()):
        for shape in SHAPES:
            for tensor in layouts(content(rank(), shape, torch.float32)):
                before = tensor.clone()
                dist.reduce(tensor, root)
                same(tensor, folded(torch.float32, shape, ReduceOp.SUM) if rank() == root else before)
            mine = content(rank(), shape, torch.int16)
            everybody = [torch.empty(shape, dtype=torch.int16) for _ in range(size())] if rank() == root else None
            dist.gather(mine, everybody, root)
            for r, tensor in enumerate(everybody or []):
                same(tensor, content(r, shape, torch.int16))
            dist.scatter(mine, [content(r + 5, shape, torch.int16) for r in range(size())] if rank() == root else None, root)
            same(mine, content(rank() + 5, shape, torch.int16))


def _all_gather():
    for dtype in FLOATS + SMALL_FLOATS + INTEGERS + COMPLEX + OTHERS:
        for shape in SHAPES:
            everybody = [torch.empty(shape, dtype=dtype) for _ in range(size())]
            dist.all_gather(everybody, content(rank(), shape, dtype))
            for r, tensor in enumerate(everybody):
                same(tensor, content(r, shape, dtype))
    for mine in layouts(content(rank(), (3, 4), torch.float32)):
        everybody = list(torch.empty(size(), 3, 4).unbind())  # one after the other in memory
        dist.all_gather(everybody, mine)
        for r, tensor in enumerate(everybody):
            same(tensor, content(r, (3, 4), torch.float32))
    uneven = [torch.empty(r * 2) for r in range(size())]
    dist.all_gather(uneven, torch.full((rank() * 2,), float(rank())))
    for r, tensor in enumerate(uneven):
        same(tensor, torch.full((r * 2,), float(r)))
    for shape in ((size() * 3,), (size(), 3)):  # joined, stacked
        whole = torch.empty(shape)
        dist.all_gather_into_tensor(whole, torch.full((3,), float(rank())))
        same(whole.reshape(-1), torch.arange(float(size())).repeat_interleave(3))
    in_place = torch.full((size() * 3,), float(rank()))
    dist.all_gather_into_tensor(in_place, in_place.chunk(size())[rank()])
    same(in_place, torch.arange(float(size())).repeat_interleave(3))


def _reduce_scatter():
    for dtype in FLOATS + INTEGERS:
        for op in (ReduceOp.SUM, ReduceOp.AVG, ReduceOp.MAX):
            for shape in SHAPES:
                mine = torch.empty(shape, dtype=dtype)
                dist.reduce_scatter(mine, [content(rank(), shape, dtype) for _ in range(size())], op)
                same(mine, folded(dtype, shape, op))
    uneven = torch.empty(rank() + 1)
    dist.reduce_scatter(uneven, [torch.full((r + 1,), float(r)) for r in range(size())])
    same(uneven, torch.full((rank() + 1,), float(rank() * size())))
    for shape in ((size() * 3,), (size(), 3)):
        mine = torch.empty(3)
        dist.reduce_scatter_tensor(mine, torch.arange(float(size())).repeat_interleave(3).view(shape))
        assert (mine == rank() * size()).all()


def _all_to_all():
    for dtype in FLOATS + SMALL_FLOATS + INTEGERS + COMPLEX + OTHERS:
        mine = torch.cat([content(rank() * size() + r, (3,), dtype) for r in range(size())])
        output = torch.empty_like(mine)
        dist.all_to_all_single(output, mine)
        same(output, torch.cat([content(r * size() + rank(), (3,), dtype) for r in range(size())]))
    sent = [(rank() + r) % 3 for r in range(size())]  # symmetrical
    for columns in (1, 4):
        mine = torch.full((sum(sent), columns), float(rank()))
        output = torch.empty(sum(sent), columns)
        dist.all_to_all_single(output, mine, sent, sent)
        same(output, torch.cat([torch.full((sent[r], columns), float(r)) for r in range(size())]))
    inputs = [torch.full((rank() + r, 2), rank() * 10.0 + r) for r in range(size())]
    outputs = [torch.empty(rank() + r, 2) for r in range(size())]
    dist.all_to_all(outputs, inputs)
    for r, tensor in enumerate(outputs):
        same(tensor, torch.full((rank() + r, 2), r * 10.0 + rank()))


def _objects():
    everybody = [None] * size()
    dist.all_gather_object(everybody, {"rank": rank(), "text": "x" * rank() * 1000})
    assert [one["rank"] for one in everybody] == list(range(size()))
    gathered = [None] * size() if rank() == 0 else None
    dist.gather_object(rank(), gathered, 0)
    assert rank() != 0 or gathered == list(range(size()))
    given = [("a", 1), None] if rank() == 0 else [None, None]
    dist.broadcast_object_list(given, 0)
    assert given == [("a", 1), None]
    mine = [None]
    dist.scatter_object_list(mine, [f"for {r}" for r in range(size())] if rank() == 0 else None, 0)
    assert mine == [f"for {rank()}"]
    dist.barrier()
    dist.barrier(async_op=True).wait()
    import tutti.torch

    tutti.torch.monitored_barrier(timeout=datetime.timedelta(seconds=30))


def _point_to_point():
    after, before = (rank() + 1) % size(), (rank() - 1) % size()
    for dtype in FLOATS + OTHERS + COMPLEX:
        for shape in ((5,), (), (0,), (3, 4)):
            for mine in layouts(content(rank(), shape, dtype)):
                received = torch.zeros_like(mine)
                send = dist.isend(mine, after)
                assert dist.recv(received, before) == before
                send.wait()
                same(received.contiguous(), content(before, shape, dtype))
    # Large ones both ways: neither blocks the other.
    large, other = torch.full((1 << 20,), float(rank())), torch.empty(1 << 20)
    send, receive = dist.isend(large, after), dist.irecv(other, before)
    send.wait()
    receive.wait()
    assert (other == before).all()
    # Tags are matched, in whatever order the receives come.
    sends = [dist.isend(torch.full((tag + 1,), float(tag)), after, tag=tag) for tag in range(4)]
    for tag in (2, 0, 3, 1):
        received = torch.empty(tag + 1)
        dist.recv(received, before, tag=tag)
        assert (received == tag).all()
    for send in sends:
        send.wait()
    # From anybody.
    if rank() == 0:
        seen = []
        for _ in range(2 * (size() - 1)):
            received = torch.empty(2)
            source = dist.recv(received)
            assert (received == source).all()
            seen.append(source)
        assert sorted(seen) == sorted(list(range(1, size())) * 2)
    else:
        for _ in range(2):
            dist.send(torch.full((2,), float(rank())), 0)
    dist.barrier()  # what follows could be taken for a message from anybody, too
    # To itself.
    receive = dist.irecv(other[:3], rank()) if size() == 1 else None
    if receive is None:
        operations = [dist.P2POp(dist.isend, large[:7], after), dist.P2POp(dist.irecv, other[:7], before)]
        for work in dist.batch_isend_irecv(operations):
            work.wait()
        assert (other[:7] == before).all()
    else:
        dist.send(large[:3], rank())
        receive.wait()
    objects = [None]
    if rank() == 0:
        dist.send_object_list([{"a": 1}], after)
        objects = [{"a": 1}]
    if rank() == after or rank() == 1:
        dist.recv_object_list(objects, 0)
    assert size() == 1 or rank() > 1 or objects == [{"a": 1}]
    dist.barrier()


ALL = [_all_reduce, _unusual_reductions, _coalesced, _to_and_from_one, _all_gather, _reduce_scatter, _all_to_all, _objects]


def _each(functions):
    for function in functions:
        function()


@pytest.mark.parametrize("ranks_in_all", [1, 2, 3, 4] if ranks.RUNS_LONG else [1, 3])
def test_collectives_give_what_they_are_defined_to(ranks_in_all):
    ranks.run(ranks_in_all, _each, ALL)


@pytest.mark.parametrize("ranks_in_all", [2, 3])
def test_sends_find_their_receives(ranks_in_all):
    ranks.run(ranks_in_all, _point_to_point)


def _over_tcp():
    import tutti.torch

    group = dist.new_group(pg_options=tutti.torch.Options("TUTTI_TRANSPORTS=tcp"))
    tensor = torch.full((100_000,), 1.0)
    dist.all_reduce(tensor, group=group)
    assert (tensor == size()).all()
    with pytest.raises(RuntimeError, match="TUTTI_NONSENSE"):
        dist.new_group(pg_options=tutti.torch.Options("TUTTI_NONSENSE=1"))
    dist.barrier()  # rank 0 has torch's store, which the other still asks


def test_groups_take_settings():
    ranks.run(2, _over_tcp)
