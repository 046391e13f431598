"""What perf/peers makes of measurements: medians, ratios, bounds, the table, the JSON."""
import pathlib
import tempfile
import unittest

import peers_paths  # noqa: F401
from comparison import figures
from comparison.options import parse


def line(us, size=65536, wrong=0, collective="all_reduce"):
    return {"collective": collective, "bytes": size, "operations": 10, "seconds": us * 10 / 1e6, "cpu_seconds": 0.001,
            "wrong": wrong}


def with_times(**times):
    """Figures of all_reduce with 2 ranks and 64 KiB by shm: peer to times in us."""
    found = figures.Figures()
    for peer, values in times.items():
        for us in values:
            found.add("shm", 2, peer, 0.0, [line(us)], 0.0)
    return found


OPTIONS = parse(["--sizes", "64K", "--ranks", "2", "--transport", "shm", "--collectives", "all_reduce"])
CELL = ("shm", 2, ["tutti", "openmpi", "mpich", "gloo"], "all_reduce", 65536)


class Figures(unittest.TestCase):
    def test_the_median_counts(self):
        found = with_times(tutti=[30, 10, 11])
        self.assertAlmostEqual(found.median_us("shm", 2, "tutti", "all_reduce", 65536), 11)
        self.assertAlmostEqual(found.median_cpu("shm", 2, "tutti", "all_reduce", 65536), 0.001 / 655360 * 1e9)
        self.assertIsNone(found.median_us("lo", 2, "tutti", "all_reduce", 65536))

    def test_the_best_peer_is_the_fastest_that_is_not_tutti(self):
        self.assertEqual(with_times(tutti=[1], openmpi=[12], mpich=[11], gloo=[90]).best_peer(*CELL)[0], "mpich")
        self.assertIsNone(with_times(tutti=[1]).best_peer(*CELL))

    def test_a_peer_with_wrong_elements_counts_for_nothing(self):
        found = with_times(tutti=[10], openmpi=[20])
        found.add("shm", 2, "mpich", 0.0, [line(1), line(1, wrong=3)], 0.0)
        self.assertEqual(found.best_peer(*CELL)[0], "openmpi")
        self.assertEqual(found.wrong(), 3)
        self.assertIn("WRONG", figures.table(found, {}, OPTIONS, [("shm", 2)]))

    def test_start_up_runs_from_the_launch_or_from_main(self):
        start = {"entered_s": 100.5, "ready_s": 101.0, "rss_kib": 4096, "pss_kib": 1024, "wrong": 1}
        found = figures.Figures()
        found.add("shm", 2, "tutti", 100.0, [start], 0.5)
        found.add("lab2", 2, "tutti", None, [start], 0.5)
        self.assertEqual(found.starts[("shm", 2, "tutti")]["start_up_s"], [1.0])
        self.assertEqual(found.starts[("lab2", 2, "tutti")]["start_up_s"], [0.5])
        self.assertEqual(found.wrong(), 2)

    def test_the_table_has_ratios_and_where_tutti_is_behind(self):
        bounds = {("shm", "all_reduce", 2, 65536): 5}
        shown = figures.table(with_times(tutti=[10], openmpi=[20], gloo=[40]), bounds, OPTIONS, [("shm", 2)])
        self.assertRegex(shown, r"64 KiB +10\.00 \(10\.00\) +20\.00 \(20\.00\) +- +40\.00 \(40\.00\) +0\.50 openmpi +2\.00\n")
        self.assertIn("ahead of every peer in 1 of 1 cells\n", shown)
        self.assertIn("wrong elements: 0\n", shown)
        shown = figures.table(with_times(tutti=[10], mpich=[5]), {}, OPTIONS, [("shm", 2)])
        self.assertIn("0 of 1 cells, and behind in:\n  all_reduce, 2 ranks, shm, 64 KiB: 2.00 of mpich's time\n", shown)

    def test_the_json_has_them_too(self):
        found = with_times(tutti=[10, 12, 14], openmpi=[24])
        found.troubles[("shm", 2, "gloo")] = "exit status 1"
        kept = figures.to_json(found, {("shm", "all_reduce", 2, 65536): 6}, OPTIONS, {"machine": {"cpu": "Model"}},
                               {"date": "today"})
        ours = kept["operations"][0]
        self.assertEqual(ours["best_peer"], "openmpi")
        self.assertAlmostEqual(ours["to_best_peer"], 0.5)
        self.assertAlmostEqual(ours["to_bound"], 2.0)
        for key, value in {"median": 12, "min": 10, "max": 14, "repetitions": 3}.items():
            self.assertAlmostEqual(ours["us"][key], value)
        self.assertEqual(kept["troubles"], [{"transport": "shm", "ranks": 2, "peer": "gloo", "why": "exit status 1"}])
        self.assertEqual((kept["date"], kept["machine"], kept["wrong"]), ("today", {"cpu": "Model"}, 0))


class Bounds(unittest.TestCase):
    def test_of_a_link_are_what_each_host_must_send(self):
        bounds = figures.link_bounds(0.125, ["all_reduce", "all_gather", "broadcast"], "lab4", 4, [1000000])
        self.assertAlmostEqual(bounds[("lab4", "all_reduce", 4, 1000000)], 12000)
        self.assertAlmostEqual(bounds[("lab4", "all_gather", 4, 1000000)], 6000)
        self.assertAlmostEqual(bounds[("lab4", "broadcast", 4, 1000000)], 8000)

    def test_of_a_link_hold_for_odd_numbers_of_ranks(self):
        bounds = figures.link_bounds(0.125, ["all_reduce", "all_to_all", "broadcast"], "lab4", 3, [1500000])
        self.assertAlmostEqual(bounds[("lab4", "all_reduce", 3, 1500000)], 16000)
        self.assertAlmostEqual(bounds[("lab4", "all_to_all", 3, 1500000)], 8000)
        self.assertAlmostEqual(bounds[("lab4", "broadcast", 3, 1500000)], 12000)

    def test_are_read_from_the_limits(self):
        bound = {"transport": "lo", "collective": "broadcast", "ranks": 2, "bytes": 8, "us": 3.5, "limited_by": "wire"}
        self.assertEqual(figures.bounds_by_key({"bounds": [bound]}), {("lo", "broadcast", 2, 8): 3.5})


class Lines(unittest.TestCase):
    def read(self, text):
        with tempfile.TemporaryDirectory(prefix="tutti-peers-") as folder:
            path = pathlib.Path(folder) / "lines"
            path.write_text(text)
            return figures.read_lines(path)

    def test_a_line_cut_off_ends_them(self):
        self.assertEqual(self.read('{"bytes": 8}\n{"bytes": 16}\n{"byt'), [{"bytes": 8}, {"bytes": 16}])

    def test_a_file_that_was_never_written_has_none(self):
        self.assertEqual(figures.read_lines("/nonexistent/lines"), [])


class Numbers(unittest.TestCase):
    def test_have_as_many_digits_as_are_worth_reading(self):
        shown = {None: "-", 0: "0.000", 0.01234: "0.0123", 0.4567: "0.457", 12.345: "12.35", 1234.5: "1234", 143825.4: "143825"}
        for value, text in shown.items():
            self.assertEqual(figures.number(value), text)


if __name__ == "__main__":
    unittest.main()
