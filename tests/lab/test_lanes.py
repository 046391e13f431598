"""Cables pulled in the middle of operations while another one holds: all results are right, nobody sees an error."""

import os
import unittest

import labs

CABLES = """
hosts: [h1, h2]
every_link: {rate: 100mbit}
links:
"""


def cables(*names):
    return CABLES + "".join(f"  - {{between: [h1, h2], name: {name}}}\n" for name in names)


class Lanes(unittest.TestCase):
    def run_with(self, topology, *events):
        """All-reduces of 4 MiB, each checked bit for bit."""
        command = [os.environ["LAB_TUTTI_PERF"], "all_reduce", "-b", "4194304", "-e", "4194944", "-i", "64", "-n", "2",
                   "-w", "1", "--in-place", "0"]
        options = ["--time-limit", "100s"] + [part for event in events for part in ("--event", event)]
        done = labs.run_lab(topology, ["env", "TUTTI_HEARTBEAT_TIMEOUT=500ms", "TUTTI_LOG=info", *command], *options)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("wrong elements: 0", done.stdout)
        return done.stdout + done.stderr

    def test_one_cable_after_the_other_is_pulled_and_put_back(self):
        said = self.run_with(cables("first", "second"), "1s link second down", "3s link second up",
                             "6s link first down", "8s link first up")
        for nic in ("nic0", "nic1"):
            lost = [line for line in said.splitlines() if "The process is still there" in line and f" {nic} " in line]
            self.assertTrue(lost, f"nobody tells of {nic}:\n{said}")
        self.assertIn("is back after", said)


if __name__ == "__main__":
    labs.main(needs_namespaces=True)
