"""torchft over Tutti: the tests that torchft publishes of its process groups (its wheel has them), with ours in place of its
own over gloo; and what it says of errors.

Skipped where torchft is not installed: pip install 'tutti[frameworks]'.
"""
import datetime
import unittest
import unittest.mock

import pytest
import ranks
import torch
import torch.distributed as dist

pytest.importorskip("torchft", reason="torchft is not installed: pip install 'tutti[frameworks]'")
pytest.importorskip("parameterized", reason="parameterized, which torchft's tests use, is not installed")

from torchft import process_group_test as published  # noqa: E402
from torchft.checkpointing import pg_transport_test as published_transport  # noqa: E402

from tutti.torch.torchft import ProcessGroupTutti  # noqa: E402


class Several(published.MultiPgBaseTest):
    """Three ranks, as threads; the collectives that torchft leaves out for gloo are among ours."""

    BACKEND = "tutti"
    WORLD_SIZE = 3

    @classmethod
    def _create_pg(cls, backend):
        return ProcessGroupTutti(timeout=datetime.timedelta(seconds=1))


def _collective(name):
    return lambda self: self._run_parallel(name)


def _with_a_death(name):
    return lambda self: self._run_with_resiliency(name)


for _name in published._ALL_COLLECTIVES:
    setattr(Several, f"test_collective_{_name}", _collective(_name))
    setattr(Several, f"test_with_a_death_{_name}", _with_a_death(_name))


class OneOfEach(unittest.TestCase):
    """What torchft's own tests of its group over gloo do, with ours under that name."""

    def _run_published(self, module, case, name):
        with unittest.mock.patch.object(module, "ProcessGroupGloo", ProcessGroupTutti):
            result = unittest.TestResult()
            getattr(module, case)(name).run(result)
        for _, trace in result.errors + result.failures:
            self.fail(trace)
        self.assertEqual((result.testsRun, result.skipped), (1, []))

    def test_all_calls_and_data_parallel_training(self):
        self._run_published(published, "ProcessGroupTest", "test_gloo_apis_0_cpu")

    def test_functional_collectives(self):
        self._run_published(published, "ProcessGroupTest", "test_functional_collectives")
        dist.destroy_process_group()

    def test_checkpoints_by_send_and_receive(self):
        self._run_published(published_transport, "PGTransportTest", "test_pg_transport_gloo")

    def test_nobody_else_comes(self):
        store = dist.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
        group = ProcessGroupTutti(timeout=datetime.timedelta(seconds=2))
        with self.assertRaisesRegex(RuntimeError, "rank 1"):
            group.configure(f"localhost:{store.port}/prefix", "0", 0, 2)


def test_an_error_is_known_until_the_group_is_configured_anew():
    store = dist.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    group = ProcessGroupTutti(settings="TUTTI_TRANSPORTS=tcp")
    assert group.errored() is None and group.getBackendName() == "torchft-tutti"
    for quorum in range(3):
        group.configure(f"localhost:{store.port}/{quorum}", "0", 0, 1, quorum)
        assert group.errored() is None and group.size() == 1
        tensor = torch.ones(3)
        group.allreduce([tensor], dist.ReduceOp.SUM).wait()
        assert (tensor == 1).all()
        group.abort()
        assert "aborted" in str(group.errored())
    group.shutdown()


def _replica(lighthouse, steps):
    """Trains by torchft's own manager; the second replica dies once, and comes again."""
    import logging
    import os

    from torchft import DistributedDataParallel, Manager, Optimizer

    logging.disable(logging.WARNING)
    replica = int(os.environ["TUTTI_RANK"])
    losses, deaths = {}, 0
    while True:
        store = dist.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
        torch.manual_seed(100 + replica + deaths)  # unlike models: they get that of the others
        model = torch.nn.Linear(4, 1)
        state = {}

        def load(content, model=model, state=state):
            model.load_state_dict(content["model"])
            state["optimizer"].load_state_dict(content["optimizer"])

        def save(model=model, state=state):
            return {"model": model.state_dict(), "optimizer": state["optimizer"].state_dict()}

        group = ProcessGroupTutti(timeout=datetime.timedelta(seconds=20))
        manager = Manager(
            pg=group,
            load_state_dict=load,
            state_dict=save,
            min_replica_size=1,
            replica_id=f"replica{replica}",
            store_addr="localhost",
            store_port=store.port,
            rank=0,
            world_size=1,
            lighthouse_addr=lighthouse,
            timeout=datetime.timedelta(seconds=20),
        )
        parallel = DistributedDataParallel(manager, model)
        optimizer = Optimizer(manager, torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9))
        state["optimizer"] = optimizer
        died = False
        while manager.current_step() < steps:
            step = manager.current_step()
            torch.manual_seed(step % 4)
            inputs = torch.randn(16, 4)
            optimizer.zero_grad()
            loss = (parallel(inputs) - inputs.sum(1, keepdim=True)).square().mean()
            loss.backward()
            optimizer.step()
            losses[step] = float(loss.detach())
            if replica == 1 and deaths == 0 and manager.current_step() == steps // 3:
                died = True
                break
        found = [float(value.sum()) for value in model.state_dict().values()]
        manager.shutdown(wait=False)
        group.shutdown()
        if not died:
            return deaths, losses, found
        deaths += 1


def test_replicas_train_on_when_one_dies_and_comes_again():
    from torchft.coordination import LighthouseServer

    lighthouse = LighthouseServer(bind="[::]:0", min_replicas=2)
    try:
        (none, losses, model), (once, _, other) = ranks.run(2, _replica, lighthouse.address(), 40, backend=None)
    finally:
        lighthouse.shutdown()
    assert (none, once) == (0, 1)
    assert model == pytest.approx(other, rel=1e-6)
    assert losses[39] < losses[3] / 5, losses
