"""Training as torch's own packages do it, unmodified: by tutti and by gloo from the same start, with the same losses."""
import pytest
import ranks
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional

STEPS = 6


def _network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))


def _batch(step, rows=8):
    torch.manual_seed(1000 * step + dist.get_rank())
    inputs = torch.randn(rows, 20)
    return inputs, inputs[:, :3] * 2 - 1


def _train(model, optimizer, steps=STEPS, after=None):
    """The mean loss over all ranks, by step."""
    losses = []
    for step in range(steps):
        inputs, wanted = _batch(step % 2)
        loss = functional.mse_loss(model(inputs), wanted)
        optimizer.zero_grad()
        loss.backward()
        if after:
            after()
        optimizer.step()
        mean = loss.detach().clone()
        dist.all_reduce(mean, dist.ReduceOp.SUM)
        losses.append(float(mean) / dist.get_world_size())
    return losses


def _digest(tensors):
    return [float(tensor.detach().double().sum()) for tensor in tensors]


def _sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.02, momentum=0.9)


def _ddp(**options):
    from torch.nn.parallel import DistributedDataParallel

    model = DistributedDataParallel(_network(), **options)
    return _train(model, _sgd(model.parameters())), _digest(model.parameters())


def _ddp_clipped():
    from torch.nn.parallel import DistributedDataParallel

    model = DistributedDataParallel(_network())
    return _train(model, _sgd(model.parameters()), after=lambda: _clip(model)), []


def _ddp_small_buckets():
    return _ddp(bucket_cap_mb=0.01, gradient_as_bucket_view=True)


def _ddp_find_unused():
    from torch.nn.parallel import DistributedDataParallel

    class Forks(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(2)
            self.ways = nn.ModuleList(nn.Linear(20, 3) for _ in range(2))
            self.step = 0

        def forward(self, inputs):
            self.step += 1
            return self.ways[(self.step + dist.get_rank()) % 2](inputs)

    model = DistributedDataParallel(Forks(), find_unused_parameters=True)
    return _train(model, _sgd(model.parameters())), _digest(model.parameters())


def _ddp_no_sync_and_join():
    from torch.distributed.algorithms.join import Join
    from torch.nn.parallel import DistributedDataParallel

    model = DistributedDataParallel(_network())
    optimizer = _sgd(model.parameters())
    with model.no_sync():
        functional.mse_loss(model(_batch(0)[0]), _batch(0)[1]).backward()
    losses = []
    with Join([model]):
        for step in range(3 + dist.get_rank()):  # unlike numbers of steps
            inputs, wanted = _batch(step % 2)
            loss = functional.mse_loss(model(inputs), wanted)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(float(loss))
    return [losses[0], losses[2]], _digest(model.parameters())


def _ddp_hooks():
    from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, powerSGD_hook
    from torch.nn.parallel import DistributedDataParallel

    def in_bfloat16(group, bucket):  # torch lets its own hook of this kind be used with NCCL alone
        return default_hooks._compress_hook(torch.bfloat16, group, bucket)

    results = []
    for hook, state in (
        (default_hooks.fp16_compress_hook, None),
        (in_bfloat16, dist.group.WORLD),
        (powerSGD_hook.powerSGD_hook, powerSGD_hook.PowerSGDState(None, start_powerSGD_iter=2)),
    ):
        model = DistributedDataParallel(_network())
        model.register_comm_hook(state, hook)
        results += _train(model, _sgd(model.parameters()))
    return results, []


def _zero():
    from torch.distributed.optim import ZeroRedundancyOptimizer
    from torch.nn.parallel import DistributedDataParallel

    model = DistributedDataParallel(_network())
    optimizer = ZeroRedundancyOptimizer(model.parameters(), torch.optim.AdamW, lr=0.02)
    losses = _train(model, optimizer)
    optimizer.consolidate_state_dict(to=0)
    return losses, _digest(model.parameters())


def _fsdp1():
    from torch.distributed.fsdp import FullyShardedDataParallel, MixedPrecision, ShardingStrategy

    results = []
    for strategy in (ShardingStrategy.FULL_SHARD, ShardingStrategy.SHARD_GRAD_OP):
        for precision in (None, MixedPrecision(param_dtype=torch.bfloat16, reduce_dtype=torch.bfloat16)):
            model = FullyShardedDataParallel(
                _network(), sharding_strategy=strategy, mixed_precision=precision, device_id=torch.device("cpu")
            )
            results += _train(model, _sgd(model.parameters()))
    return results, []


def _fsdp2():
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    results = []
    size = dist.get_world_size()
    meshes = [init_device_mesh("cpu", (size,))]
    if size == 4:
        meshes.append(init_device_mesh("cpu", (2, 2), mesh_dim_names=("replicas", "shards")))
    for mesh in meshes:
        for policy in (MixedPrecisionPolicy(), MixedPrecisionPolicy(param_dtype=torch.bfloat16)):
            model = _network()
            for layer in (model[0], model[2]):
                fully_shard(layer, mesh=mesh, mp_policy=policy)
            fully_shard(model, mesh=mesh, mp_policy=policy)
            results += _train(model, _sgd(model.parameters()), after=lambda model=model: _clip(model))
    return results, []


def _clip(model):
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)


def _tensor_parallel():
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    model = parallelize_module(_network(), mesh, {"0": ColwiseParallel(), "2": RowwiseParallel()})
    losses = []
    optimizer = _sgd(model.parameters())
    for step in range(STEPS):
        torch.manual_seed(step % 2)  # the same on all ranks
        inputs = torch.randn(8, 20)
        loss = functional.mse_loss(model(inputs), inputs[:, :3] * 2 - 1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    whole = torch.arange(24.0).reshape(6, 4)
    sharded = distribute_tensor(whole, mesh, [Shard(0)])
    assert isinstance(sharded, DTensor)
    turned = sharded.redistribute(mesh, [Shard(1)])
    assert torch.equal(turned.redistribute(mesh, [Replicate()]).to_local(), whole)
    other = distribute_tensor(whole.t().contiguous(), mesh, [Replicate()])
    assert torch.equal((sharded @ other).full_tensor(), whole @ whole.t())
    return losses, _digest(p.full_tensor() if isinstance(p, DTensor) else p for p in model.parameters())


def _pipeline():
    from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe

    rank, size = dist.get_rank(), dist.get_world_size()
    results = []
    for schedule_class in (ScheduleGPipe, Schedule1F1B):
        torch.manual_seed(rank)
        part = nn.Linear(20, 20)
        stage = PipelineStage(part, rank, size, torch.device("cpu"))
        schedule = schedule_class(stage, n_microbatches=4, loss_fn=functional.mse_loss)
        optimizer = _sgd(part.parameters())
        for step in range(3):
            torch.manual_seed(step)
            inputs = torch.randn(8, 20)
            optimizer.zero_grad()
            losses = []
            if rank == 0:
                schedule.step(inputs)
            elif rank == size - 1:
                schedule.step(target=inputs, losses=losses)
            else:
                schedule.step()
            optimizer.step()
            total = torch.tensor(float(sum(float(loss) for loss in losses)))
            dist.broadcast(total, size - 1)
            results.append(float(total))
    return results, []


def _functional():
    from torch.distributed import _functional_collectives as collectives
    from torch.distributed.nn import functional as differentiable

    rank, size = dist.get_rank(), dist.get_world_size()
    group = dist.group.WORLD
    assert (collectives.all_reduce(torch.ones(4), "sum", group) == size).all()
    gathered = collectives.all_gather_tensor(torch.full((2,), float(rank)), 0, group)
    assert gathered.tolist() == [float(r) for r in range(size) for _ in range(2)]
    assert (collectives.reduce_scatter_tensor(torch.ones(2 * size), "avg", 0, group) == 1).all()
    mixed = collectives.all_to_all_single(torch.arange(float(size)), None, None, group)
    assert mixed.tolist() == [float(rank)] * size
    assert (collectives.broadcast(torch.full((2,), float(rank)), 1, group) == 1).all()
    for tensor in collectives.all_reduce_coalesced([torch.ones(2), torch.ones(3)], "sum", group):
        assert (tensor == size).all()

    def step(tensor):
        return collectives.all_reduce(tensor * 2, "sum", group).sum()

    assert torch.compile(step, backend="aot_eager")(torch.ones(3)) == 6 * size
    leaf = torch.ones(3, requires_grad=True)
    differentiable.all_reduce(leaf * (rank + 1)).sum().backward()
    assert (leaf.grad == size * (rank + 1)).all()
    return [], []


def _checkpoint(folder):
    from torch.distributed import checkpoint
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    def sharded():
        model = _network()
        fully_shard(model, mesh=init_device_mesh("cpu", (dist.get_world_size(),)))
        return model

    model = sharded()
    losses = _train(model, _sgd(model.parameters()), 2)
    checkpoint.save({"model": model.state_dict()}, checkpoint_id=f"{folder}/one")
    future = checkpoint.async_save({"model": model.state_dict()}, checkpoint_id=f"{folder}/two")
    future.result()
    for name in ("one", "two"):
        other = sharded()
        state = {"model": other.state_dict()}
        checkpoint.load(state, checkpoint_id=f"{folder}/{name}")
        other.load_state_dict(state["model"])
        for saved, loaded in zip(model.parameters(), other.parameters()):
            assert torch.equal(saved.to_local(), loaded.to_local())
    return losses, []


def _each(functions, arguments):
    return [function(*arguments) for function in functions]


def _compare(size, functions, tolerance, by_gloo=True, arguments=()):
    ours = ranks.run(size, _each, functions, arguments)
    theirs = ranks.run(size, _each, functions, arguments, backend="gloo") if by_gloo else ours
    for rank in range(size):
        for function, (losses, digest), (their_losses, their_digest) in zip(functions, ours[rank], theirs[rank]):
            name = function.__name__
            assert losses == pytest.approx(their_losses, rel=tolerance), name
            assert digest == pytest.approx(their_digest, rel=tolerance, abs=1e-4), name
            assert digest == pytest.approx(ours[0][functions.index(function)][1], rel=1e-6), name
            if len(losses) >= STEPS:
                assert losses[STEPS - 1] < losses[0], f"{name} has learnt nothing"


@pytest.mark.parametrize("size", [2, 4] if ranks.RUNS_LONG else [2])
def test_distributed_data_parallel(size):
    _compare(size, [_ddp, _ddp_small_buckets, _ddp_find_unused, _ddp_no_sync_and_join, _zero], 1e-4)


def test_compression_hooks():
    _compare(2, [_ddp_hooks], 0.05)


def test_fully_sharded():
    _compare(2, [_fsdp1], 0.02)


@pytest.mark.parametrize("size", [2, 4] if ranks.RUNS_LONG else [2])
def test_fully_sharded_by_parameter(size):
    # gloo cannot average, which this needs, so it is compared with what the same training gives without shards.
    for (losses, _), (whole, _) in ranks.run(size, _each, [_fsdp2, _ddp_clipped], ()):
        for begin in range(0, len(losses), STEPS):
            tolerance = 1e-4 if begin // STEPS % 2 == 0 else 0.05  # in bfloat16
            assert losses[begin : begin + STEPS] == pytest.approx(whole, rel=tolerance)


def test_tensor_parallel_and_pipelines():
    _compare(2, [_tensor_parallel, _pipeline], 1e-4)
    _compare(3, [_pipeline], 1e-4)


def test_functional_collectives():
    ranks.run(2, _functional)


def test_checkpoints(tmp_path):
    _compare(2, [_checkpoint], 1e-4, by_gloo=False, arguments=(str(tmp_path),))
