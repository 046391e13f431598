"""Cables pulled in the middle of operations while another one holds: all results are right, nobody sees an error. And
which connections carry what is large."""

import os
import re
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

    def carrying(self, *settings):
        """Of the connections of a process in the middle of large all-reduces: how many there are, how many carry."""
        perf = os.environ["LAB_TUTTI_PERF"]
        command = f"{perf} all_reduce -b 4M -e 4M -n 10 -w 0 -c 0 > /dev/null & sleep 1.5; ss -tinH; wait $!"
        done = labs.run_lab(cables("only"), ["env", *settings, "sh", "-c", command], "--time-limit", "100s")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        # `ss` tells of the store's connection, too, which has another port at one end.
        sent = [int(found) for found in re.findall(r"\[h1 0\].* bytes_sent:(\d+)", done.stdout)]
        return len(sent), sum(each > 1 << 20 for each in sent)

    def test_a_slow_cable_is_filled_by_one_connection_unless_several_are_asked_for(self):
        there, carry = self.carrying("TUTTI_LOG=warn")
        self.assertGreaterEqual(there, 2)
        self.assertEqual(carry, 1)
        self.assertEqual(self.carrying("TUTTI_TCP_CONNECTIONS=2")[1], 2)


if __name__ == "__main__":
    labs.main(needs_namespaces=True)
