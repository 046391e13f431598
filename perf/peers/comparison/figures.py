"""What was measured, gathered over the repetitions, and what it says: statistics, ratios, the table, the JSON."""

import json
import statistics

from comparison.options import bytes_text


def read_lines(path):
    """The lines of JSON that a peer's rank 0 has written; a last line that is cut off is left out."""
    lines = []
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                try:
                    lines.append(json.loads(line))
                except json.JSONDecodeError:
                    break
    except FileNotFoundError:
        pass
    return lines


def spread(values):
    """Median, min and max; None of none."""
    if not values:
        return None
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "repetitions": len(values)}


class Figures:
    """Rows by (transport, ranks, peer): what came of the starts; by (..., collective, bytes): of the operations."""

    def __init__(self):
        self.starts = {}
        self.operations = {}
        self.troubles = {}  # (transport, ranks, peer): why it could not be measured, or not to the end
        self.notes = {}  # the same keys: what else is to be known
        self.wrong_starts = 0

    def add(self, transport, ranks, peer, started_s, lines, other_load):
        """What one job has written. `started_s`: when it was started; None if that says nothing, then a start-up begins
        with the first rank's main()."""
        key = (transport, ranks, peer)
        for line in lines:
            if "ready_s" in line:
                start = self.starts.setdefault(key, {"start_up_s": [], "rss_kib": [], "pss_kib": [], "other_load": []})
                start["start_up_s"].append(line["ready_s"] - (line["entered_s"] if started_s is None else started_s))
                start["rss_kib"].append(line["rss_kib"])
                start["pss_kib"].append(line["pss_kib"])
                start["other_load"].append(other_load)
                self.wrong_starts += line["wrong"]
                continue
            row = self.operations.setdefault((*key, line["collective"], line["bytes"]),
                                             {"us": [], "cpu_s_per_gb": [], "wrong": 0, "missing": ""})
            if "missing" in line:
                row["missing"] = line["missing"]
                continue
            moved = line["operations"] * line["bytes"]
            row["us"].append(line["seconds"] / line["operations"] * 1e6)
            row["cpu_s_per_gb"].append(line["cpu_seconds"] / moved * 1e9)
            row["wrong"] += line["wrong"]

    def wrong(self):
        return sum(row["wrong"] for row in self.operations.values()) + self.wrong_starts

    def median_cpu(self, *key):
        row = self.operations.get(key)
        return statistics.median(row["cpu_s_per_gb"]) if row and row["cpu_s_per_gb"] else None

    def median_us(self, *key):
        row = self.operations.get(key)
        return statistics.median(row["us"]) if row and row["us"] and not row["wrong"] else None

    def best_peer(self, transport, ranks, peers, collective, size):
        """(name, us) of the fastest that is not Tutti and gave right results; None if there is none."""
        found = [(self.median_us(transport, ranks, peer, collective, size), peer) for peer in peers
                 if not peer.startswith("tutti")]
        found = [one for one in found if one[0] is not None]
        return (min(found)[1], min(found)[0]) if found else None


def bounds_by_key(limits):
    """us by (transport, collective, ranks, bytes), of what tutti-limits wrote."""
    return {(one["transport"], one["collective"], one["ranks"], one["bytes"]): one["us"]
            for one in limits.get("bounds", [])}


def link_bounds(rate_gbps, collectives, transport, ranks, sizes):
    """The least times, in us, with a rank on each host: what each host must send at least, at the link's rate."""
    bounds = {}
    for collective in collectives:
        share = 1 if collective == "broadcast" else (ranks - 1) / ranks * (1 + (collective == "all_reduce"))
        for size in sizes:
            bounds[(transport, collective, ranks, size)] = share * size / rate_gbps / 1e3
    return bounds


def number(value):
    """Three significant digits, never with an exponent."""
    if value is None:
        return "-"
    digits = 3
    while digits > 0 and abs(value) >= 10 ** (4 - digits):
        digits -= 1
    return f"{value:.{digits}f}" if abs(value) >= 0.1 or value == 0 else f"{value:.3g}"


def _cell(figures, key):
    row = figures.operations.get(key)
    if row is None:
        return "-"
    if row["missing"]:
        return "none"
    if row["wrong"]:
        return "WRONG"
    return f"{number(statistics.median(row['us']))} ({number(min(row['us']))})"


def _ratios(figures, bounds, transport, ranks, peers, collective, size):
    ours = figures.median_us(transport, ranks, "tutti", collective, size)
    best = figures.best_peer(transport, ranks, peers, collective, size)
    bound = bounds.get((transport, collective, ranks, size))
    to_best = f"{ours / best[1]:.2f} {best[0]}" if ours and best else "-"
    to_bound = f"{ours / bound:.2f}" if ours and bound else "-"
    return to_best, to_bound


def table(figures, bounds, options, combinations):
    """For people: a block for each collective, transport and number of ranks; then starts and troubles."""
    lines = ["us per operation: median (min) of the repetitions; Tutti / best peer: below 1 Tutti is faster; "
             "Tutti / bound: 1 is the least possible"]
    for transport, ranks in combinations:
        for collective in options.collectives:
            lines += ["", f"{collective}, {ranks} ranks, {transport}" + (", busy machine" if options.busy else ""),
                      "".join(f"{one:>20}" for one in ("size", *options.peers, "Tutti / best peer", "Tutti / bound"))]
            for size in options.sizes:
                cells = [bytes_text(size)]
                cells += [_cell(figures, (transport, ranks, peer, collective, size)) for peer in options.peers]
                cells += _ratios(figures, bounds, transport, ranks, options.peers, collective, size)
                lines.append("".join(f"{one:>20}" for one in cells))
            cells = ["CPU s/GB, largest"] + [number(figures.median_cpu(transport, ranks, peer, collective, options.sizes[-1]))
                                             for peer in options.peers]
            lines.append("".join(f"{one:>20}" for one in cells))
    lines += _where_behind(figures, options, combinations)
    lines += _about_starts(figures)
    for heading, texts in (("Note", figures.notes), ("Not measured, or not to the end", figures.troubles)):
        lines += [f"{heading}: {peer}, {ranks} ranks, {transport}: {why}" for (transport, ranks, peer), why in texts.items()]
    return "\n".join([*lines, f"wrong elements: {figures.wrong():.0f}"]) + "\n"


def _where_behind(figures, options, combinations):
    """Each cell in which a peer is faster."""
    ahead, behind = 0, []
    for transport, ranks in combinations:
        for collective in options.collectives:
            for size in options.sizes:
                best = figures.best_peer(transport, ranks, options.peers, collective, size)
                ours = figures.median_us(transport, ranks, "tutti", collective, size)
                if not best or not ours:
                    continue
                if ours <= best[1]:
                    ahead += 1
                else:
                    behind.append(f"  {collective}, {ranks} ranks, {transport}, {bytes_text(size)}: {ours / best[1]:.2f} of "
                                  f"{best[0]}'s time")
    cells = ahead + len(behind)
    return ["", f"Tutti is ahead of every peer in {ahead} of {cells} cells" + (", and behind in:" if behind else ""), *behind] \
        if cells else []


def _about_starts(figures):
    lines = ["", "start-up: from the launch (lab: from the first rank's main()) to the end of the first operation; memory: "
             "of the worst rank after it; other load: cores that something else kept busy",
              "".join(f"{one:>14}" for one in ("transport", "ranks", "peer", "start-up s", "RSS MiB", "PSS MiB",
                                               "other load"))]
    for (transport, ranks, peer), start in figures.starts.items():
        cells = [transport, ranks, peer, number(statistics.median(start["start_up_s"])),
                 number(statistics.median(start["rss_kib"]) / 1024), number(statistics.median(start["pss_kib"]) / 1024),
                 number(statistics.median(start["other_load"]))]
        lines.append("".join(f"{one:>14}" for one in cells))
    return lines


def to_json(figures, bounds, options, limits, about):
    """`about`: when and with what, as it is to stand in the file."""
    operations = []
    for (transport, ranks, peer, collective, size), row in figures.operations.items():
        one = {"transport": transport, "ranks": ranks, "peer": peer, "collective": collective, "bytes": size,
               "us": spread(row["us"]), "cpu_s_per_gb": spread(row["cpu_s_per_gb"]), "wrong": row["wrong"],
               "missing": row["missing"], "bound_us": bounds.get((transport, collective, ranks, size))}
        if peer == "tutti":
            best = figures.best_peer(transport, ranks, options.peers, collective, size)
            ours = figures.median_us(transport, ranks, peer, collective, size)
            one["to_best_peer"] = ours / best[1] if ours and best else None
            one["best_peer"] = best[0] if best else None
            one["to_bound"] = ours / one["bound_us"] if ours and one["bound_us"] else None
        operations.append(one)
    starts = [{"transport": transport, "ranks": ranks, "peer": peer, **{key: spread(start[key]) for key in start}}
              for (transport, ranks, peer), start in figures.starts.items()]
    texts = {name: [{"transport": transport, "ranks": ranks, "peer": peer, "why": why}
                    for (transport, ranks, peer), why in each.items()]
             for name, each in (("troubles", figures.troubles), ("notes", figures.notes))}
    return {"tool": "peers", "format": 1, "busy": options.busy, "quick": options.quick, "seconds": options.seconds, **about,
            "machine": limits.get("machine"), "wrong": figures.wrong(), "operations": operations, "starts": starts,
            **texts, "limits": limits}
