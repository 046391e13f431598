"""Programs as users start them: by torchrun, with nothing of Tutti imported, killed and started again."""
import os
import subprocess
import sys

import ranks

_LIMIT_SECONDS = 300

_TRAINS = """
import os, signal, sys, time
import torch, torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

attempt = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))
dist.init_process_group("tutti")
rank = dist.get_rank()
torch.manual_seed(0)
model = DistributedDataParallel(nn.Linear(10, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
torch.manual_seed(rank)
inputs = torch.randn(64, 10)
first = last = None
for step in range(20):
    if step == 10 and attempt < int(sys.argv[1]) and rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    loss = (model(inputs) - inputs.sum(1, keepdim=True)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
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


def test_an_unmodified_program_finds_the_backend(tmp_path):
    done = _torchrun(tmp_path, 2, "0", options=["--master-port", str(ranks.free_port())])
    assert done.returncode == 0, done.stderr
    for rank in range(2):
        assert f"attempt 0 rank {rank} of 2 has learnt by tutti" in done.stdout


def test_torchrun_starts_the_job_again(tmp_path):
    endpoint = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{ranks.free_port()}"]
    deaths = 2 if ranks.RUNS_LONG else 1
    # The limit of the run is far below the process group's deadline, 30 minutes: who waited for that would not be back.
    done = _torchrun(tmp_path, 3, str(deaths), options=["--max-restarts", "3", "--monitor-interval", "0.1", *endpoint])
    assert done.returncode == 0, done.stderr
    for rank in range(3):
        assert f"attempt {deaths} rank {rank} of 3" in done.stdout
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


def test_a_broken_installation_does_not_break_torch(tmp_path):
    # What shadows tutti_torch's needs: torch.distributed that refuses.
    code = """
import warnings
warnings.simplefilter("error")
import torch.distributed as dist
class Refuses(dist.Backend):
    @classmethod
    def register_backend(cls, *a, **k): raise OSError("no")
import tutti_torch
del dist.Backend.TUTTI
dist.Backend.register_backend = Refuses.register_backend
try:
    tutti_torch.register()
except RuntimeWarning as told:
    assert "no" in str(told)
else:
    raise AssertionError("nobody was told")
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_extension_is_built_before_it_is_needed(tmp_path):
    command = [sys.executable, "-m", "tutti.torch", "build"]
    built = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert os.path.exists(built.stdout.strip())
    assert subprocess.run(command[:-1], capture_output=True, check=False, timeout=60).returncode == 2


def test_who_has_no_compiler_is_told_what_to_do(tmp_path):
    code = f"""
import pathlib, tutti.torch.build as build
build._folder = lambda: pathlib.Path({str(tmp_path)!r})
try:
    build.build()
except build.BuildError as error:
    assert "apt install g++" in str(error), error
else:
    raise AssertionError("it was built")
"""
    environment = {**os.environ, "PATH": str(tmp_path), "CXX": ""}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=environment)
