"""Two cables of unlike rates between two hosts: all results are right, and the faster one carries more than the half of
the bytes that its lanes have. How much in all is perf's affair (docs/fabrics.md)."""

import os
import re
import unittest

import labs

CABLES = """
hosts: [h1, h2]
links:
  - {between: [h1, h2], name: fast, rate: 200mbit}
  - {between: [h1, h2], name: slow, rate: 50mbit}
"""
COUNTS = "cat /sys/class/net/nic0/statistics/tx_bytes /sys/class/net/nic1/statistics/tx_bytes | paste -s -d ' '"


class Unequal(unittest.TestCase):
    def test_the_faster_cable_carries_more(self):
        """Of 4 to 1 it would be 0.80; each lane by its own cable alone would make it 0.50."""
        command = f"{os.environ['LAB_TUTTI_PERF']} all_reduce -b 8388608 -e 8388608 -n 20 -w 2 && echo sent $({COUNTS})"
        done = labs.run_lab(CABLES, ["env", "TUTTI_LOG=info", "sh", "-c", command], "--time-limit", "120s")
        said = done.stdout + done.stderr
        self.assertEqual(done.returncode, 0, said)
        self.assertIn("wrong elements: 0", said)
        sent = re.findall(r"sent (\d+) (\d+)", said)
        self.assertEqual(len(sent), 2, said)
        for fast, slow in sent:
            self.assertGreater(int(fast), 0.65 * (int(fast) + int(slow)), said)


if __name__ == "__main__":
    if os.environ.get("TUTTI_TEST_LONG") != "1":
        print("skipped: this is one of the long campaigns (TUTTI_TEST_LONG=1)")
        raise SystemExit(labs.SKIPPED)
    labs.main(needs_namespaces=True)
