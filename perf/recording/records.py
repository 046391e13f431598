"""Records: one line of JSON for each run, and what stands in it.

{"format": 1, "date": "...", "commit": HASH, "dirty": false, "machine": {"cpu", "cores", "memory_bytes", "kernel"},
 "quick": false, "other_load": CORES, "figures": {"all_reduce shm 2 ranks 64 KiB": {"ratio": [MEDIAN, MIN, MAX],
 "us": [MEDIAN, MIN, MAX]}}}

A ratio is a time over the least that the machine allows, measured in the same run. Start-up and memory have no limit to
be held against; they have "ms" or "mib" alone.
"""

import json
import os

from comparison.errors import Trouble
from comparison.options import bytes_text

FORMAT = 1
_GIB = 2**30


def _three(spread, factor=1.0):
    """Median, min and max, to four digits, which is more than they are worth."""
    return [float(f"{spread[key] * factor:.4g}") for key in ("median", "min", "max")]


def figures_of(measured):
    """The figures in what perf/peers/run has written for Tutti."""
    figures = {}
    for one in measured["operations"]:
        if one["peer"] != "tutti" or not one["us"] or not one["bound_us"]:
            continue
        key = f"{one['collective']} {one['transport']} {one['ranks']} ranks {bytes_text(one['bytes'])}"
        figures[key] = {"ratio": _three(one["us"], 1 / one["bound_us"]), "us": _three(one["us"])}
    for one in measured["starts"]:
        if one["peer"] == "tutti":
            figures[f"start-up {one['transport']} {one['ranks']} ranks"] = {"ms": _three(one["start_up_s"], 1e3)}
            figures[f"memory {one['transport']} {one['ranks']} ranks"] = {"mib": _three(one["rss_kib"], 1 / 1024)}
    return figures


def record_of(measured, commit, dirty):
    """The line for one run of perf/peers/run."""
    return {"format": FORMAT, "date": measured["date"], "commit": commit, "dirty": dirty, "machine": measured["machine"],
            "quick": measured["quick"],
            "other_load": max((one["other_load"]["median"] for one in measured["starts"]), default=0.0),
            "figures": figures_of(measured)}


def append(path, record):
    """One line in one write, so that two runs do not mix theirs."""
    line = (json.dumps(record, separators=(", ", ": ")) + "\n").encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


def read(path):
    """All records, oldest first; none if there is no file yet."""
    records = []
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    record = json.loads(line)
                    known = record["format"] == FORMAT and {"commit", "machine", "figures"} <= record.keys()
                except (ValueError, KeyError, TypeError, AttributeError):
                    known = False
                if not known:
                    raise Trouble(f"{path}:{number}: is no record of format {FORMAT}. Remove the line, or put the file back "
                                  "from git.")
                records.append(record)
    except FileNotFoundError:
        pass
    return records


def same_machine(one, other):
    """Figures of machines that differ in processor, cores or memory (to a GiB) say nothing about each other."""
    def identity(machine):
        return machine["cpu"], machine["cores"], round(machine["memory_bytes"] / _GIB)
    return identity(one) == identity(other)


def machine_text(machine):
    return f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_bytes'] / _GIB:.0f} GiB, {machine['kernel']}"


def this_machine():
    """As tutti-limits names it."""
    cpu = "not named by the kernel"
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("model name") and ": " in line:
                cpu = line.split(": ", 1)[1].rstrip("\n")
                break
    system = os.uname()
    return {"cpu": cpu, "cores": len(os.sched_getaffinity(0)),
            "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
            "kernel": f"{system.sysname} {system.release}"}
