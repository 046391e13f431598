"""Programs as users start them: by torchrun, with nothing of Tutti imported, killed and started again."""
import os
import subprocess
import sys
import warnings

import pytest
import ranks
import torch.distributed as dist

_LIMIT_SECONDS = 300

_TRAINS = """
import os, signal, sys, time
import torch, torch.distributed as dist

attempt = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))
dist.init_process_group("tutti")
rank = dist.get_rank()
model = torch.nn.Linear(10, 1)
for parameter in model.parameters():
    dist.broadcast(parameter.data, 0)
torch.manual_seed(rank)
inputs = torch.randn(64, 10)
first = last = None
for step in range(20):
    if step == 10 and attempt < int(sys.argv[1]) and rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    loss = (model(inputs) - inputs.sum(1, keepdim=True)).square().mean()
    loss.backward()
    for parameter in model.parameters():  # by hand: torch's optimizers take seconds to import the rest of it
        dist.all_reduce(parameter.grad, dist.ReduceOp.AVG)
        parameter.data -= 0.05 * parameter.grad
        parameter.grad = None
    last = float(loss)
    first = first or last
assert last < first / 2, (first, last)
print(f"attempt {attempt} rank {rank} of {dist.get_world_size()} has learnt by {dist.get_backend()}", flush=True)
dist.destroy_process_group()
"""


def _torchrun(tmp_path, ranks_in_all, *arguments, options=()):
    program = tmp_path / "trains.py"
    program.write_text(_TRAINS)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(ranks_in_all), *options]
    return subprocess.run(
        [*command, str(program), *arguments],
        capture_output=True,
        text=True,
        timeout=_LIMIT_SECONDS,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.skipif(not ranks.RUNS_LONG, reason="the other rendezvous of torchrun's: TUTTI_TEST_LONG=1")
def test_torchrun_with_a_port_of_its_own(tmp_path):
    done = _torchrun(tmp_path, 2, "0", options=["--master-port", str(ranks.free_port())])
    assert done.returncode == 0, done.stderr
    for rank in range(2):
        assert f"attempt 0 rank {rank} of 2 has learnt by tutti" in done.stdout


def test_an_unmodified_program_finds_the_backend_and_is_started_again(tmp_path):
    # With an address, since a machine's own name need not be one that can be resolved.
    endpoint = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{ranks.free_port()}"]
    endpoint += ["--local-addr", "127.0.0.1"]
    size, deaths = (3, 2) if ranks.RUNS_LONG else (2, 1)
    # The limit of the run is far below the process group's deadline, 30 minutes: who waited for that would not be back.
    done = _torchrun(tmp_path, size, str(deaths), options=["--max-restarts", "3", "--monitor-interval", "0.1", *endpoint])
    assert done.returncode == 0, done.stderr
    for rank in range(size):
        assert f"attempt {deaths} rank {rank} of {size} has learnt by tutti" in done.stdout
    assert "Timed out" not in done.stderr


_NOT_WANTED = """
import sys
import torch
assert "tutti" not in sys.modules, "import torch imports the whole package"
import torch.distributed as dist
assert "tutti" in dist.Backend.backend_list
"""


def test_import_torch_registers_and_imports_nothing_else():
    subprocess.run([sys.executable, "-c", _NOT_WANTED], check=True, timeout=60)


def _registers_in_vain():
    """torch.distributed refuses."""
    import tutti_torch

    def refuses(*_, **__):
        raise OSError("no")

    del dist.Backend.TUTTI
    dist.Backend.register_backend = refuses
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        tutti_torch.register()
    assert ["no" in str(one.message) for one in told if one.category is RuntimeWarning] == [True]


def test_a_broken_installation_does_not_break_torch():
    ranks.run(1, _registers_in_vain, backend=None)


def test_the_extension_is_built_before_it_is_needed(extension):
    assert os.path.exists(extension)


def test_its_command_takes_no_other_argument(monkeypatch):
    from tutti.torch.__main__ import main

    monkeypatch.setattr(sys, "argv", ["tutti.torch"])
    assert main() == 2


def test_who_has_no_compiler_is_told_what_to_do(tmp_path, monkeypatch):
    from tutti.torch import build

    monkeypatch.setattr(build, "_folder", lambda: tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", "")
    with pytest.raises(build.BuildError, match=r"apt install g\+\+"):
        build.build()
