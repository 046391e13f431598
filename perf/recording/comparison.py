"""What moved from one set of records to another.

The noise of a figure is the range of its repetitions, over all records of that side. A figure has moved only if the ranges
of both sides do not touch and the medians differ by a twentieth or more: few repetitions may lie close together by chance.
Where there is a ratio to the machine's limit, both the ratio and the time must have moved, in the same direction: a machine
that was slower that day moves the time alone, a limit that was measured badly the ratio alone.
"""

import dataclasses

from comparison.errors import Trouble
from recording.records import machine_text, same_machine

BUSY_CORES = 0.1
_LEAST_SHARE = 0.05


@dataclasses.dataclass
class Change:
    """`old`, `new`: median, min, max. `moved`: -1 better (smaller), 1 worse, 0 within the noise."""
    name: str
    unit: str  # "x": times the limit
    old: list
    new: list
    moved: int

    @property
    def share(self):
        return self.new[0] / self.old[0] - 1 if self.old[0] else 0.0


def _united(records, name, kind):
    """Median of the medians, and the widest range."""
    values = [record["figures"][name][kind] for record in records if kind in record["figures"].get(name, {})]
    if not values:
        return None
    medians = sorted(value[0] for value in values)
    middle = len(medians) // 2
    median = medians[middle] if len(medians) % 2 else (medians[middle - 1] + medians[middle]) / 2
    return [median, min(value[1] for value in values), max(value[2] for value in values)]


def _direction(old, new):
    if abs(new[0] - old[0]) < _LEAST_SHARE * old[0]:
        return 0
    if new[1] > old[2]:
        return 1
    return -1 if new[2] < old[1] else 0


def changes(old_records, new_records):
    """Of every figure that both sides have, in the order of the newest record."""
    found = []
    for name, figure in new_records[-1]["figures"].items():
        sides = {kind: (_united(old_records, name, kind), _united(new_records, name, kind)) for kind in figure}
        sides = {kind: pair for kind, pair in sides.items() if pair[0] and pair[1]}
        if not sides:
            continue
        directions = {_direction(*pair) for pair in sides.values()}
        kind = "ratio" if "ratio" in sides else next(iter(sides))
        found.append(Change(name, {"ratio": "x", "mib": "MiB"}.get(kind, kind), *sides[kind],
                            directions.pop() if len(directions) == 1 else 0))
    return found


def choose(records, machine, commit, commit_text):
    """The records of this machine to hold against each other: those of `commit` (None: of the measurement before), and
    those of the newest measurement: what was measured last, or the runs of the same clean commit in a row before it."""
    ours = [record for record in records if same_machine(record["machine"], machine)]
    if not ours:
        others = sorted({machine_text(record["machine"]) for record in records})
        raise Trouble(f"There is no record of this machine ({machine_text(machine)})" +
                      (f"; there are some of: {'; '.join(others)}" if others else "") +
                      ". Run perf/record without an option, now and at the commit to compare with.")
    newest = _last_group(ours)
    before = ours[:-len(newest)]
    if commit is None:
        if not before:
            raise Trouble("There is one measurement of this machine only, so that there is nothing to compare it with. Run "
                          "perf/record again after a change, or at an older commit.")
        return _last_group(before), newest
    old = [record for record in before if record["commit"] == commit]
    if not old and all(record["commit"] == commit for record in newest):
        raise Trouble(f"The newest measurement of this machine is of {commit_text} itself. Measure another commit, or leave "
                      "the commit out to compare with the measurement before.")
    if not old:
        recorded = dict.fromkeys(record["commit"][:10] for record in ours)
        raise Trouble(f"There is no record of {commit_text} ({commit[:10]}) by this machine; there are of: "
                      f"{', '.join(recorded)}. Check the commit out and run perf/record to add one.")
    return [record for record in old if not record["dirty"]] or old, newest


def _last_group(records):
    """The last record, with those before it that are of the same commit, if that was clean."""
    last = records[-1]
    begin = len(records) - 1
    while not last["dirty"] and begin > 0 and not records[begin - 1]["dirty"] and \
            records[begin - 1]["commit"] == last["commit"]:
        begin -= 1
    return records[begin:]


def _side(records, subject):
    last = records[-1]
    busy = max(record["other_load"] for record in records)
    return (f"{last['commit'][:10]}{' with changes not committed' if last['dirty'] else ''} ({subject or 'not in this clone'})"
            f", {len(records)} run{'s' if len(records) > 1 else ''}, the last {last['date']}" +
            (f"; {busy:.2f} cores were busy with something else" if busy > BUSY_CORES else ""))


def text(old_records, new_records, subjects, show_all):
    """For people. `subjects`: of the old and the new commit."""
    found = changes(old_records, new_records)
    lines = [f"from {_side(old_records, subjects[0])}", f"to   {_side(new_records, subjects[1])}",
             "x: times the least that the machine allows; median (min-max); smaller is better", ""]
    for change in found:
        if change.moved or show_all:
            mark = {-1: "better", 0: "", 1: "WORSE"}[change.moved]
            lines.append(f"{change.name:<40}{_numbers(change.old):>24} ->{_numbers(change.new):>24} {change.unit:<4}"
                         f"{change.share:>+8.1%}  {mark}".rstrip())
    worse, better = (sum(change.moved == way for change in found) for way in (1, -1))
    lines.append(f"{len(found)} figures: {worse} worse, {better} better, {len(found) - worse - better} within the noise of "
                 "both sides")
    gone = [name for name in old_records[-1]["figures"] if name not in new_records[-1]["figures"]]
    if gone:
        lines.append(f"no longer measured: {', '.join(gone)}")
    return "\n".join(lines) + "\n"


def _numbers(values):
    return "{:.4g} ({:.4g}-{:.4g})".format(*values)
