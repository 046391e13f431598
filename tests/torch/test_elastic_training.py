"""tutti.torch.Elastic: the example with kills, and what it says of wrong use."""
import os
import pathlib
import subprocess
import sys

import pytest
import ranks
import torch

_EXAMPLE = pathlib.Path(__file__).resolve().parents[2] / "examples" / "torch" / "elastic_ddp.py"


def test_models_are_equal_after_kills_and_joins():
    if ranks.RUNS_LONG:
        # Ten minutes and more: a kill every few seconds, as soon as the one before has been replaced.
        arguments = ["--processes", "4", "--kills", "100", "--every", "3", "--slow", "1", "--steps", "5000"]
    else:
        arguments = ["--processes", "3", "--kills", "1", "--steps", "300", "--every", "0.3"]
    done = subprocess.run(
        [sys.executable, str(_EXAMPLE), *arguments], capture_output=True, text=True, timeout=3600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all have the same model and the loss is as undisturbed" in done.stdout
    assert "'joined': True" in done.stdout


def _trains_unlike_kinds():
    import tutti.torch

    torch.manual_seed(ranks_of_this := int(os.environ["TUTTI_RANK"]))  # unlike models: rank 0's counts
    model = torch.nn.ModuleList([torch.nn.Linear(3, 3), torch.nn.Linear(3, 3).double()])
    unused = torch.nn.Parameter(torch.ones(2))
    changes = []
    optimizer = torch.optim.SGD([*model.parameters(), unused], lr=0.1, momentum=0.9)
    elastic = tutti.torch.Elastic(model, optimizer, tensors={"seen": torch.zeros(1)}, on_change=changes.append)
    for _ in elastic.steps(3):
        optimizer.zero_grad()
        loss = model[0](torch.ones(1, 3)).sum() + model[1](torch.ones(1, 3).double()).sum() + ranks_of_this
        loss.backward()
        elastic.step(loss)
    with pytest.raises(RuntimeError, match="step"):
        for _ in elastic.steps(5):
            pass
    assert changes == [elastic] and elastic.done == 3
    total = [float(p.detach().sum()) for p in model.parameters()]
    elastic.close()
    return total


def test_all_types_train_and_misuse_is_told():
    one, other = ranks.run(2, _trains_unlike_kinds, backend=None)
    assert one == other
