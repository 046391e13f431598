"""Which figures perf/record calls moved, and which measurements it holds against each other."""
import unittest

import record_paths  # noqa: F401
from recording import comparison
from comparison.errors import Trouble

MACHINE = {"cpu": "Model", "cores": 2, "memory_bytes": 24 * 2**30, "kernel": "Linux 6"}
OTHER_MACHINE = {**MACHINE, "cores": 16}


def record(commit="a" * 40, ratio=(2.0, 1.9, 2.1), us=(20.0, 19.0, 21.0), machine=MACHINE, dirty=False, other_load=0.0):
    return {"format": 1, "date": "2026-01-02T03:04:05Z", "commit": commit, "dirty": dirty, "machine": machine,
            "quick": False, "other_load": other_load, "figures": {"all_reduce": {"ratio": list(ratio), "us": list(us)}}}


def moved(old, new):
    return comparison.changes(old, new)[0].moved


class Moves(unittest.TestCase):
    def test_a_figure_beyond_both_ranges_has_moved(self):
        faster = record(ratio=(1.0, 0.9, 1.1), us=(10.0, 9.0, 11.0))
        self.assertEqual(moved([record()], [faster]), -1)
        self.assertEqual(moved([faster], [record()]), 1)

    def test_ranges_that_touch_are_noise(self):
        wide = record(ratio=(1.0, 0.9, 1.9), us=(10.0, 9.0, 19.0))
        self.assertEqual(moved([record()], [wide]), 0)
        self.assertEqual(moved([wide], [record()]), 0)

    def test_a_slower_machine_moves_the_time_alone(self):
        self.assertEqual(moved([record()], [record(us=(40.0, 39.0, 41.0))]), 0)

    def test_a_limit_measured_badly_moves_the_ratio_alone(self):
        self.assertEqual(moved([record()], [record(ratio=(4.0, 3.9, 4.1))]), 0)

    def test_opposite_directions_are_no_move(self):
        self.assertEqual(moved([record()], [record(ratio=(1.0, 0.9, 1.1), us=(40.0, 39.0, 41.0))]), 0)

    def test_a_difference_below_a_twentieth_is_none_however_narrow_the_ranges(self):
        old = record(ratio=(2.0, 2.0, 2.0), us=(20.0, 20.0, 20.0))
        self.assertEqual(moved([old], [record(ratio=(2.09, 2.09, 2.09), us=(20.9, 20.9, 20.9))]), 0)
        self.assertEqual(moved([old], [record(ratio=(2.11, 2.11, 2.11), us=(21.1, 21.1, 21.1))]), 1)

    def test_more_runs_of_a_commit_widen_its_noise(self):
        new = record(ratio=(2.5, 2.4, 2.6), us=(25.0, 24.0, 26.0))
        self.assertEqual(moved([record()], [new]), 1)
        self.assertEqual(moved([record(), record(ratio=(2.3, 2.2, 2.45), us=(23.0, 22.0, 24.5))], [new]), 0)

    def test_a_figure_without_a_limit_moves_by_itself(self):
        old, new = record(), record()
        old["figures"] = {"start-up": {"ms": [10.0, 9.0, 11.0]}}
        new["figures"] = {"start-up": {"ms": [20.0, 19.0, 21.0]}, "memory": {"mib": [9.0, 9.0, 9.0]}}
        found = comparison.changes([old], [new])
        self.assertEqual([(one.name, one.unit, one.moved) for one in found], [("start-up", "ms", 1)])


class Choice(unittest.TestCase):
    def test_without_a_commit_the_measurement_before_counts(self):
        first, second, third = record("a" * 40), record("b" * 40), record("c" * 40)
        self.assertEqual(comparison.choose([first, second, third], MACHINE, None, ""), ([second], [third]))

    def test_runs_of_one_clean_commit_in_a_row_are_one_measurement(self):
        records = [record("a" * 40), record("a" * 40), record("b" * 40), record("b" * 40)]
        self.assertEqual(comparison.choose(records, MACHINE, None, ""), (records[:2], records[2:]))

    def test_runs_of_a_dirty_tree_are_measurements_of_their_own(self):
        records = [record("a" * 40), record("a" * 40, dirty=True), record("a" * 40, dirty=True)]
        self.assertEqual(comparison.choose(records, MACHINE, None, ""), (records[1:2], records[2:]))

    def test_of_a_commit_the_clean_records_count(self):
        records = [record("a" * 40, dirty=True), record("a" * 40), record("b" * 40)]
        self.assertEqual(comparison.choose(records, MACHINE, "a" * 40, "v1"), (records[1:2], records[2:]))

    def test_other_machines_are_passed_over(self):
        records = [record("a" * 40), record("d" * 40, machine=OTHER_MACHINE), record("b" * 40)]
        self.assertEqual(comparison.choose(records, MACHINE, None, ""), (records[:1], records[2:]))

    def test_a_new_kernel_is_the_same_machine(self):
        records = [record("a" * 40, machine={**MACHINE, "kernel": "Linux 5"}), record("b" * 40)]
        self.assertEqual(comparison.choose(records, MACHINE, "a" * 40, "v1"), (records[:1], records[1:]))

    def refuses(self, wanted, records, commit=None):
        with self.assertRaises(Trouble) as caught:
            comparison.choose(records, MACHINE, commit, "v1")
        self.assertIn(wanted, str(caught.exception))

    def test_says_what_is_missing(self):
        self.refuses("no record of this machine (Model, 2 cores, 24 GiB, Linux 6). Run", [])
        self.refuses("there are some of: Model, 16 cores", [record(machine=OTHER_MACHINE)])
        self.refuses("one measurement of this machine only", [record()])
        self.refuses("no record of v1 (cccccccccc) by this machine; there are of: aaaaaaaaaa, bbbbbbbbbb",
                     [record("a" * 40), record("b" * 40)], "c" * 40)
        self.refuses("is of v1 itself", [record("a" * 40), record("b" * 40)], "b" * 40)


class Text(unittest.TestCase):
    def test_shows_what_moved_and_counts_the_rest(self):
        old, new = record("a" * 40), record("b" * 40, ratio=(4.0, 3.9, 4.1), us=(40.0, 39.0, 41.0), other_load=0.5)
        old["figures"]["broadcast"] = new["figures"]["broadcast"] = {"us": [1.0, 0.9, 1.1]}
        old["figures"]["gather"] = {"us": [1.0, 0.9, 1.1]}
        shown = comparison.text([old], [new], ["One", ""], show_all=False)
        self.assertIn("from aaaaaaaaaa (One), 1 run", shown)
        self.assertIn("to   bbbbbbbbbb (not in this clone), 1 run", shown)
        self.assertIn("0.50 cores were busy", shown)
        self.assertRegex(shown, r"all_reduce +2 \(1\.9-2\.1\) -> +4 \(3\.9-4\.1\) x +\+100\.0%  WORSE")
        self.assertIn("2 figures: 1 worse, 0 better, 1 within the noise", shown)
        self.assertIn("no longer measured: gather", shown)
        self.assertNotIn("broadcast", shown)
        self.assertIn("broadcast", comparison.text([old], [new], ["One", ""], show_all=True))


if __name__ == "__main__":
    unittest.main()
