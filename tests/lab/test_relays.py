"""The only link between two of three hosts is cut in the middle of operations: they go on through the third, all
results are right and nobody sees an error; put back, they are connected directly again."""

import os
import re
import unittest

import labs

# They meet over the switch, and use the other links.
TRIANGLE = """
hosts: [h1, h2, h3]
switches: {meeting: bridge}
every_link: {rate: 200mbit}
links:
  - {between: [h1, meeting]}
  - {between: [h2, meeting]}
  - {between: [h3, meeting]}
  - {between: [h1, h2]}
  - {between: [h2, h3]}
  - {between: [h1, h3]}
"""


# A ring connects neighbours only: nobody is connected to both h1 and h2 before they lose each other.
RING = """
hosts: [h1, h2, h3, h4]
switches: {meeting: bridge}
every_link: {rate: 200mbit}
links:
  - {between: [h1, meeting]}
  - {between: [h2, meeting]}
  - {between: [h3, meeting]}
  - {between: [h4, meeting]}
  - {between: [h1, h2]}
  - {between: [h2, h3]}
  - {between: [h3, h4]}
  - {between: [h4, h1]}
  - {between: [h1, h3]}
  - {between: [h2, h4]}
"""


class Relays(unittest.TestCase):
    def run_with(self, *events, connections=2, topology=TRIANGLE, settings=()):
        """All-reduces of 4 MiB, each checked bit for bit."""
        command = [os.environ["LAB_TUTTI_PERF"], "all_reduce", "-b", "4194304", "-e", "4194624", "-i", "64", "-n",
                   "2", "-w", "1", "--in-place", "0"]
        settings = [*settings, "TUTTI_HEARTBEAT_TIMEOUT=500ms", "TUTTI_LOG=info", "TUTTI_TCP_INTERFACES=^nic0",
                    "TUTTI_CONNECT_TIMEOUT=20s", f"TUTTI_TCP_CONNECTIONS={connections}"]
        options = ["--time-limit", "100s"] + [part for event in events for part in ("--event", event)]
        done = labs.run_lab(topology, ["env", *settings, *command], *options)
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
        said = self.run_with("1s link h1-h2 down", topology=RING, settings=["TUTTI_ALGORITHM=all_reduce=ring"])
        self.assertIn("wrong elements: 0", said)
        self.assertRegex(said, re.compile(r"\[h[34][^\n]*these two processes are relayed here"))

    def test_a_link_that_carries_one_way_only_counts_as_cut(self):
        said = self.run_with("1s link h1-h2 loss 100% to h1")
        self.assertIn("wrong elements: 0", said)
        self.assertIn("goes relayed to process", said)


if __name__ == "__main__":
    labs.main(needs_namespaces=True)
