"""The programs of examples/python and examples/jax, by real processes as their users start them."""
import importlib.util
import os
import pathlib
import re
import subprocess
import sys

import job
import pytest

_EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"


def _run(ranks, program, *arguments):
    """What each rank printed, by rank."""
    store = f"tcp://127.0.0.1:{job.free_port()}"
    processes = []
    for rank in range(ranks):
        environment = {**os.environ, "TUTTI_RANK": str(rank), "TUTTI_SIZE": str(ranks), "TUTTI_STORE": store}
        processes.append(subprocess.Popen([sys.executable, str(_EXAMPLES / program), *arguments], env=environment,
                                          text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
    try:
        said = [process.communicate(timeout=120) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, errors) in zip(processes, said):
        assert process.returncode == 0, errors
    return [output for output, _ in said]


@pytest.mark.parametrize("ranks", [1, 3, 4])
def test_what_mpi_programs_do(ranks):
    assert _run(ranks, "python/mpi_style.py")[0] == f"{ranks} ranks: all as it should be\n"


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed: pip install jax")
def test_jax_learns_the_same_on_all_ranks_in_both_ways():
    said = _run(2, "jax/data_parallel.py", "between") + _run(2, "jax/data_parallel.py", "inside")
    found = [re.fullmatch(r"rank \d of 2: loss ([\d.]+) to ([\d.]+), weights ([0-9a-f]{8})\n", line) for line in said]
    assert all(found), said
    assert all(float(one[2]) < 0.5 * float(one[1]) for one in found), said
    assert len({one[3] for one in found[:2]}) == len({one[3] for one in found[2:]}) == 1, said
