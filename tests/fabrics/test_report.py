"""What figures say: medians of ratios, bars, the table."""
import unittest

import fabrics_paths  # noqa: F401
from fabrics import report as reports
from fabrics import tools

LATENCY = tools.Figure("latency", 8, "latency_8_median_us", "us", "ib_write_lat")
LARGE = tools.Figure("one_way", 1 << 20, "", "MB/s", "ib_write_bw")
SMALL = tools.Figure("one_way", 1 << 16, "", "MB/s", "ib_write_bw")
ALONE = tools.Figure("both_ways", 1 << 20, "", "MB/s", "")


class Reports(unittest.TestCase):
    def test_a_ratio_is_that_of_one_round(self):
        report = reports.Report()
        # The machine was four times slower in the second round, for both.
        for ours, theirs in ((10.0, 10.0), (44.0, 40.0), (12.0, 10.0)):
            report.add("verbs", LATENCY, ours, theirs)
        (row,) = report.rows()
        self.assertEqual(row["ratio"]["median"], 1.1)
        self.assertEqual((row["ours"]["median"], row["theirs"]["median"]), (12.0, 10.0))
        self.assertEqual((row["ratio"]["min"], row["ratio"]["max"], row["ratio"]["repetitions"]), (1.0, 1.2, 3))

    def test_bars(self):
        for figure, ratio, kept in ((LATENCY, 1.25, True), (LATENCY, 1.26, False), (LARGE, 0.95, True), (LARGE, 0.94, False),
                                    (SMALL, 0.1, None)):
            self.assertIs(reports.meets(figure, ratio), kept, (figure.name, ratio))

    def test_without_a_tool_there_is_no_ratio_and_no_verdict(self):
        report = reports.Report()
        report.add("ucx", ALONE, 900.0, None)
        (row,) = report.rows()
        self.assertEqual((row["ratio"], row["theirs"], row["meets"]), (None, None, None))
        self.assertNotIn("MISSED", reports.table(report.json()))

    def test_the_table_says_what_was_missed_and_what_went_wrong(self):
        report = reports.Report()
        report.add("verbs", LATENCY, 30.0, 10.0)
        report.add("verbs", LARGE, 99.0, 100.0)
        report.add_memory("verbs", {"pinned_KiB_per_peer": 16.0, "one_way_65536_MBps": 1.0})
        report.troubles.append("ucx: ucx_perftest is not installed (scripts/packages, group fabrics)")
        lines = reports.table(report.json()).splitlines()
        self.assertIn("[at most 1.25: MISSED]", lines[1])
        self.assertIn("[at least 0.95: kept]", lines[2])
        self.assertEqual(lines[3].split(), ["verbs", "pinned", "KiB", "per", "peer", "16"])
        self.assertIn("ucx_perftest is not installed", lines[4])


if __name__ == "__main__":
    unittest.main()
