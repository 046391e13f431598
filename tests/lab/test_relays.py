"""The only link between two of three hosts is cut in the middle of operations: they go on through the third, all
results are right and nobody sees an error; put back, they are connected directly again."""

import itertools
import os
import re
import unittest

import labs


def every_pair(hosts):
    """A link between each two of so many hosts; they meet over a switch, and use these."""
    names = [f"h{number + 1}" for number in range(hosts)]
    pairs = [(name, "meeting") for name in names] + list(itertools.combinations(names, 2))
    links = "".join(f"  - {{between: [{a}, {b}]}}\n" for a, b in pairs)
    return f"hosts: [{', '.join(names)}]\nswitches: {{meeting: bridge}}\nevery_link: {{rate: 200mbit}}\nlinks:\n{links}"


class Relays(unittest.TestCase):
    def run_with(self, *events, connections=2, hosts=3, settings=()):
        """All-reduces of 4 MiB, each checked bit for bit."""
        command = [os.environ["LAB_TUTTI_PERF"], "all_reduce", "-b", "4194304", "-e", "4194624", "-i", "64", "-n",
                   "2", "-w", "1", "--in-place", "0"]
        settings = [*settings, "TUTTI_HEARTBEAT_TIMEOUT=500ms", "TUTTI_LOG=info", "TUTTI_TCP_INTERFACES=^nic0",
                    "TUTTI_CONNECT_TIMEOUT=20s", f"TUTTI_TCP_CONNECTIONS={connections}"]
        options = ["--time-limit", "100s"] + [part for event in events for part in ("--event", event)]
        done = labs.run_lab(every_pair(hosts), ["env", *settings, *command], *options)
        said = done.stdout + done.stderr
        self.assertEqual(done.returncode, 0, said)
        return said

    def test_a_link_is_cut_and_put_back(self):
        for connections in (1, 2):
            with self.subTest(connections=connections):
                said = self.run_with("1s link h1-h2 down", "3s link h1-h2 up", connections=connections)
                self.assertIn("wrong elements: 0", said)
                self.assertIn("these two processes are relayed here", said)
                lost = [line for line in said.splitlines() if "goes relayed to process" in line]
                self.assertTrue(any(line.startswith("[h1") for line in lost), said)
                self.assertTrue(any(line.startswith("[h2") for line in lost), said)
                self.assertRegex(said, re.compile("is there again: nothing goes relayed"))

    def test_a_third_that_is_not_connected_to_the_other_yet_connects(self):
        # A ring of four: nobody is connected to both h1 and h2 before they lose each other.
        said = self.run_with("1s link h1-h2 down", hosts=4, settings=["TUTTI_ALGORITHM=all_reduce=ring"])
        self.assertIn("wrong elements: 0", said)
        self.assertRegex(said, re.compile(r"\[h[34][^\n]*these two processes are relayed here"))

    def test_a_link_that_carries_one_way_only_counts_as_cut(self):
        said = self.run_with("1s link h1-h2 loss 100% to h1")
        self.assertIn("wrong elements: 0", said)
        self.assertIn("goes relayed to process", said)


if __name__ == "__main__":
    labs.main(needs_namespaces=True)
