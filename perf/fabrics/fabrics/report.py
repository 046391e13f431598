"""What was measured, gathered over the rounds: medians with their spread, ratios, the table, the JSON."""

import statistics

from comparison.figures import spread
from comparison.options import bytes_text

BARS = {"latency": (1.25, "at most"), "one_way": (0.95, "at least"), "both_ways": (0.95, "at least"),
        "ping_pong": (0.95, "at least"), "all_reduce": (0.9, "at least")}
LARGE = 1 << 20  # from here on the bars for bandwidth hold


def bar(figure):
    """(limit, "at most" or "at least") of Tutti's figure over the tool's; None where there is none."""
    if figure.name == "latency" or figure.bytes >= LARGE:
        return BARS.get(figure.name)
    return None


def meets(figure, ratio):
    """Whether the ratio keeps the figure's bar; None where there is none."""
    limit = bar(figure)
    if limit is None or ratio is None:
        return None
    return ratio <= limit[0] if limit[1] == "at most" else ratio >= limit[0]


class Report:
    """Values of each figure, round by round. A ratio is that of one round, whose two halves ran one after the other."""

    def __init__(self):
        self.values = {}  # (target, figure): [(ours, theirs or None)]
        self.memory = {}  # target: {name: [values]}
        self.troubles = []

    def add(self, target, figure, ours, theirs):
        self.values.setdefault((target, figure), []).append((ours, theirs))

    def add_memory(self, target, ours):
        for name in ("resident_KiB_per_peer", "pinned_KiB_per_peer", "register_1M_us", "copy_1M_us"):
            if name in ours:
                self.memory.setdefault(target, {}).setdefault(name, []).append(ours[name])

    def rows(self):
        """One dictionary for each figure that was measured."""
        found = []
        for (target, figure), pairs in self.values.items():
            ratios = [ours / theirs for ours, theirs in pairs if theirs]
            ratio = spread(ratios)
            found.append({
                "target": target, "figure": figure.name, "bytes": figure.bytes, "unit": figure.unit, "tool": figure.tool,
                "ours": spread([ours for ours, _ in pairs]), "theirs": spread([theirs for _, theirs in pairs if theirs]),
                "ratio": ratio, "bar": bar(figure), "meets": meets(figure, ratio["median"] if ratio else None)})
        return found

    def json(self):
        memory = {target: {name: statistics.median(values) for name, values in names.items()}
                  for target, names in self.memory.items()}
        return {"rows": self.rows(), "memory": memory, "troubles": self.troubles}


def number(value):
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def _range(values):
    return f"{number(values['median'])} ({number(values['min'])}..{number(values['max'])})" if values else "-"


def table(report):
    """The JSON's content as lines of text."""
    lines = [f"{'':14} {'':10} {'bytes':>8} {'':5} {'Tutti, median (range)':>30} {'tool':>30} {'ratio':>20}  by"]
    for row in report["rows"]:
        verdict = {True: " kept", False: " MISSED", None: ""}[row["meets"]]
        limit = f"  [{row['bar'][1]} {row['bar'][0]}:{verdict}]" if row["bar"] and row["ratio"] else ""
        lines.append(f"{row['target']:14} {row['figure']:10} {bytes_text(row['bytes']):>8} {row['unit']:5} "
                     f"{_range(row['ours']):>30} {_range(row['theirs']):>30} {_range(row['ratio']):>20}  "
                     f"{row['tool']}{limit}")
    for target, names in report["memory"].items():
        parts = ", ".join(f"{name.replace('_', ' ')} {number(value)}" for name, value in names.items())
        lines.append(f"{target:14} {parts}")
    return "\n".join([*lines, *report["troubles"]])
