"""docs/migration.md: every name of Tutti's, Python's and torch's in its tables exists."""
import importlib.util
import pathlib
import re

import pytest
import tutti

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (_ROOT / "docs" / "migration.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("|") and not line.startswith("|---")
]


def _names(column):
    """Of all tables, by their headings: the names between backticks, without quotation marks."""
    found, place = [], None
    for row in _ROWS:
        if column in row:
            place = row.index(column)
        elif place is not None and place < len(row):
            found += [name.strip('"') for name in re.findall(r"`([^`]*)`", row[place])]
    return sorted(set(found))


def test_there_are_names():
    assert min(len(_names(column)) for column in ("NCCL", "MPI", "C", "Python", "torch")) > 15


def test_the_c_names_are_in_the_headers():
    headers = "".join(path.read_text(encoding="utf-8") for path in (_ROOT / "include" / "tutti").glob("*.h"))
    declared = set(re.findall(r"\b(?:tutti|TUTTI)_\w+", re.sub(r"/\*.*?\*/", "", headers, flags=re.DOTALL)))
    assert [name for name in _names("C") if name not in declared] == []


def _is_python(name):
    if name.startswith("tutti."):
        return hasattr(tutti, name.removeprefix("tutti."))
    if "." in name:
        return hasattr(tutti.Request, name.removeprefix("Request."))
    return hasattr(tutti.Communicator, name)


# Values of arguments, which a call takes or refuses.
_VALUES = re.compile(r"b?float\d+(_\w+)?|counts=|sum|product|min|max|average|bit_\w+|premultiplied_sum")


def test_the_python_names_are_there():
    assert [name for name in _names("Python") if not _VALUES.fullmatch(name) and not _is_python(name)] == []


def test_the_python_values_are_known():
    import numpy

    values = [name for name in _names("Python") if _VALUES.fullmatch(name) and name != "counts="]
    with tutti.Communicator.from_id(1, 0, tutti.unique_id()) as comm:
        for name in values:
            if "float" in name:
                bits = re.search(r"\d+", name)[0]
                comm.broadcast(numpy.zeros(8, f"uint{bits}"), 0, datatype=name)
            elif name != "premultiplied_sum":
                comm.all_reduce(numpy.zeros(3, numpy.int32), op=name)
            else:
                comm.all_reduce(numpy.zeros(3), op=name, scalar=2)
    assert len(values) > 10


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
def test_the_torch_names_are_there():
    import torch
    import torch.distributed as dist

    def is_there(name):
        place = torch if re.fullmatch(r"b?float\d+(_\w+)?", name) else dist
        for part in name.split("."):
            if not hasattr(place, part):
                return False
            place = getattr(place, part)
        return True

    assert [name for name in _names("torch") if not is_there(name)] == []
