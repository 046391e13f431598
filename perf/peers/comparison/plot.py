"""What --plot draws, as numbers: how the cost of each collective grows with the number of ranks; and who draws it.

A Python with matplotlib draws (perf/peers/draw): the one that runs this, or Debian's.
"""

import dataclasses
import importlib.util
import json
import pathlib
import subprocess
import sys

from comparison import programs
from comparison.errors import Trouble
from comparison.options import ROOT

_DEBIANS_PYTHON = "/usr/bin/python3"


@dataclasses.dataclass
class Panel:
    """One quantity of a collective by a transport, at one size: (ranks, value) of each peer, and of the bound."""
    bytes: int
    lines: dict
    bound: list


@dataclasses.dataclass
class Row:
    """Times in us at the smallest size, bus bandwidths in GB/s at the largest."""
    transport: str
    collective: str
    times: Panel
    bandwidths: Panel


def bus_bytes(collective, ranks, size):
    """What an operation moves over each rank's busiest link, at least: size times what makes numbers of ranks comparable."""
    if collective == "broadcast":
        return size
    return size * (ranks - 1) / ranks * (2 if collective == "all_reduce" else 1)


def _panel(operations, size, value):
    lines, bound = {}, {}
    for one in (each for each in operations if each["bytes"] == size):
        if one["bound_us"]:
            bound[one["ranks"]] = value(one["ranks"], one["bound_us"])
        if one["us"] and not one["wrong"]:
            lines.setdefault(one["peer"], []).append((one["ranks"], value(one["ranks"], one["us"]["median"])))
    return Panel(size, {peer: sorted(points) for peer, points in lines.items()}, sorted(bound.items()))


def rows(document):
    """A row for each transport and collective in which anything was measured, in the order of the run."""
    operations = {}
    for one in document["operations"]:
        operations.setdefault((one["transport"], one["collective"]), []).append(one)
    found = []
    for (transport, collective), each in operations.items():
        sizes = [one["bytes"] for one in each]
        times = _panel(each, min(sizes), lambda _, us: us)
        bandwidths = _panel(each, max(sizes), lambda ranks, us: bus_bytes(collective, ranks, max(sizes)) / us / 1e3)
        if times.lines or bandwidths.lines:
            found.append(Row(transport, collective, times, bandwidths))
    return found


def title(document):
    """Of the whole picture: the commit, and the machine with its cores."""
    machine = document.get("machine") or {}
    where = [machine.get("cpu"), f"{machine['cores']} cores" if machine.get("cores") else None,
             "kept busy by something else" if document.get("busy") else None, document.get("date", "")[:10] or None]
    version = document.get("versions", {}).get("tutti")
    return " ".join(one for one in ("Tutti", version, "beside its peers") if one) + "\n" + \
        ", ".join(one for one in where if one)


def read(path):
    """What --json has written."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Trouble(f"{path} cannot be read: {error.strerror} ({error.errno}); --from wants a file that --json has "
                      "written.") from None
    except ValueError as error:
        raise Trouble(f"{path} is not JSON: {error}; --from wants a file that --json has written.") from None
    if not isinstance(document, dict) or (document.get("tool"), document.get("format")) != ("peers", 1):
        raise Trouble(f"{path} was not written by this version of perf/peers/run --json; --from wants a file that was.")
    return document


def _draws(python):
    return subprocess.run([python, "-c", "import matplotlib"], stderr=subprocess.DEVNULL, check=False).returncode == 0


def find_python(may_install):
    """The path of a Python that has matplotlib, installed now if need be."""
    if importlib.util.find_spec("matplotlib"):
        return sys.executable
    has = pathlib.Path(_DEBIANS_PYTHON).exists() and _draws(_DEBIANS_PYTHON)
    if not has and may_install:
        has = programs.install_groups(["plot"]) and _draws(_DEBIANS_PYTHON)
    if not has:
        raise Trouble(f"Nothing can be drawn, for neither {sys.executable} nor {_DEBIANS_PYTHON} has matplotlib; install the "
                      "group 'plot' of scripts/packages, or leave --plot out (--from draws later what --json keeps now).")
    return _DEBIANS_PYTHON


def draw(document, path, python):
    if not rows(document):
        raise Trouble(f"{path} was not drawn, for nothing was measured.")
    done = subprocess.run([python, "-B", str(ROOT / "perf" / "peers" / "draw"), str(path)], input=json.dumps(document),
                          stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise Trouble(f"{path} was not drawn: {lines[-1]}")
