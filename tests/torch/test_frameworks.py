"""Training by frameworks over torch, unmodified: by tutti and by gloo from the same start, with the same losses.

What is not installed is skipped, with its name: `pip install 'tutti[frameworks]'` has all of them, and scripts/test --long
installs it. They are imported by the ranks, never by the process that forks these.
"""
import contextlib
import importlib.util
import io
import logging
import os
import subprocess
import sys
import warnings

import pytest
import ranks
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional

STEPS = 8
SIZES = [2, 4] if ranks.RUNS_LONG else [2]


def needs(package):
    is_there = importlib.util.find_spec(package) is not None
    return pytest.mark.skipif(not is_there, reason=f"{package} is not installed: pip install 'tutti[frameworks]'")


def _network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(20, 64), nn.Tanh(), nn.Linear(64, 3))


def _samples():
    """The whole data set: frameworks share it out among the ranks themselves."""
    torch.manual_seed(2)
    inputs = torch.randn(STEPS * 32, 20)
    return torch.utils.data.TensorDataset(inputs, inputs[:, :3] * 2 - 1)


def _loss(model, batch):
    return functional.mse_loss(model(batch[0]), batch[1])


@contextlib.contextmanager
def _quiet():
    logging.disable(logging.WARNING)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def _parameters(model):
    return [float(parameter.detach().double().sum()) for parameter in model.parameters()]


def _accelerate(backend):
    """With gradients accumulated over two batches, clipped and gathered."""
    from accelerate import Accelerator

    dist.init_process_group(backend)  # on the CPU, Accelerate lets nobody name a backend but who has begun with it
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    assert accelerator.num_processes == dist.get_world_size() and dist.get_backend() == backend
    model = _network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    loader = torch.utils.data.DataLoader(_samples(), batch_size=8)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    losses = []
    for _ in range(2):
        for batch in loader:
            with accelerator.accumulate(model):
                loss = _loss(model, batch)
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
            losses.append(float(accelerator.gather(loss.detach()).mean()))
    objects = accelerator.gather_for_metrics([accelerator.process_index], use_gather_object=True)
    assert objects == list(range(accelerator.num_processes))
    with accelerator.main_process_first():
        accelerator.wait_for_everyone()
    found = _parameters(accelerator.unwrap_model(model))
    accelerator.end_training()
    return losses, found


def _accelerate_sharded(backend):
    from accelerate import Accelerator, FullyShardedDataParallelPlugin

    dist.init_process_group(backend)
    plugin = FullyShardedDataParallelPlugin(fsdp_version=2, reshard_after_forward=True, auto_wrap_policy="NO_WRAP")
    accelerator = Accelerator(cpu=True, fsdp_plugin=plugin)
    model = _network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    loader = torch.utils.data.DataLoader(_samples(), batch_size=8)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    losses = []
    for batch in loader:
        loss = _loss(model, batch)
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(accelerator.reduce(loss.detach(), "mean")))
    state = accelerator.get_state_dict(model)
    return losses, [float(value.double().sum()) for value in state.values()]


def _lightning(backend, strategy_name):
    import lightning
    from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy

    kinds = {"ddp": DDPStrategy, "fsdp": FSDPStrategy}
    losses = []

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.network = _network()

        def training_step(self, batch, _):
            loss = _loss(self.network, batch)
            self.log("loss", loss, sync_dist=True)
            losses.append(float(self.all_gather(loss.detach()).mean()))
            return loss

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), lr=0.02)

    size = int(os.environ["WORLD_SIZE"])
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=size,
        strategy=kinds[strategy_name](process_group_backend=backend),
        max_epochs=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        gradient_clip_val=1.0,
    )
    model = Module()
    trainer.fit(model, torch.utils.data.DataLoader(_samples(), batch_size=8))
    assert dist.get_backend() == backend and dist.get_world_size() == size
    return losses, _parameters(model)


def _fabric(backend):
    import lightning
    from lightning.fabric.strategies import DDPStrategy

    fabric = lightning.Fabric(
        accelerator="cpu", devices=int(os.environ["WORLD_SIZE"]), strategy=DDPStrategy(process_group_backend=backend)
    )
    fabric.launch()
    model = _network()
    model, optimizer = fabric.setup(model, torch.optim.SGD(model.parameters(), lr=0.05))
    loader = fabric.setup_dataloaders(torch.utils.data.DataLoader(_samples(), batch_size=8))
    losses = []
    for batch in loader:
        loss = _loss(model, batch)
        optimizer.zero_grad()
        fabric.backward(loss)
        optimizer.step()
        losses.append(float(fabric.all_reduce(loss.detach(), reduce_op="mean")))
    assert dist.get_backend() == backend
    assert fabric.broadcast(f"from {fabric.global_rank}", src=1) == "from 1"
    return losses, _parameters(model)


def _deepspeed(backend, stage):
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    import deepspeed

    deepspeed.init_distributed(dist_backend=backend, auto_mpi_discovery=False, verbose=False)
    assert dist.get_backend() == backend
    model = _network()
    settings = {
        "train_micro_batch_size_per_gpu": 8,
        "gradient_clipping": 1.0,
        "zero_optimization": {"stage": stage, "overlap_comm": False},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
    }
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    engine, _, loader, _ = deepspeed.initialize(
        model=model, optimizer=optimizer, config=settings, training_data=_samples(), dist_init_required=False
    )
    losses = []
    for _ in range(2):
        for batch in loader:
            loss = _loss(engine, batch)
            engine.backward(loss)
            engine.step()
            mean = loss.detach().clone()
            deepspeed.comm.all_reduce(mean)
            losses.append(float(mean) / dist.get_world_size())
    found = []
    for parameter in model.parameters():
        with deepspeed.zero.GatheredParameters([parameter], enabled=stage == 3):
            found.append(float(parameter.detach().double().sum()))
    return losses, found


def _train(function, backend, arguments):
    with _quiet():
        return function(backend, *arguments)


def _compare(size, function, *arguments):
    ours, theirs = (
        ranks.run(size, _train, function, backend, arguments, backend=None) for backend in ("tutti", "gloo")
    )
    for (losses, parameters), (their_losses, their_parameters) in zip(ours, theirs):
        assert losses == pytest.approx(their_losses, rel=1e-4)
        assert parameters == pytest.approx(their_parameters, rel=1e-4, abs=1e-4)
        assert sum(losses[-3:]) < 0.7 * sum(losses[:3]), losses


@needs("accelerate")
@pytest.mark.parametrize("size", SIZES)
def test_accelerate(size):
    _compare(size, _accelerate)


@needs("accelerate")
@pytest.mark.parametrize("size", SIZES)
def test_accelerate_with_shards(size):
    _compare(size, _accelerate_sharded)


@needs("lightning")
@pytest.mark.parametrize("size", SIZES)
def test_lightning(size):
    _compare(size, _lightning, "ddp")


@needs("lightning")
@pytest.mark.parametrize("size", SIZES)
def test_lightning_fabric(size):
    _compare(size, _fabric)


@pytest.fixture(scope="module")
def deepspeeds_extension():
    """DeepSpeed compiles it when it is first used on the CPU, which takes longer than ranks have."""
    code = "from deepspeed.ops.op_builder.cpu import ShareMemCommBuilder; ShareMemCommBuilder().load()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "DS_ACCELERATOR": "cpu"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs("deepspeed")
@pytest.mark.usefixtures("deepspeeds_extension")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_deepspeed(stage, size):
    _compare(size, _deepspeed, stage)
