"""Chaos on three hosts of the lab: processes and links fail at random moments, and one model is left in the end.

Default: 30 s for each set of transports. TUTTI_TEST_LONG=1: 20 minutes. TUTTI_TEST_SEED=N for other moments."""

import contextlib
import os
import pathlib
import tempfile
import time
import unittest

import labs
from chaos import LEAST, Chaos

HOSTS = """
hosts: [h1, h2, h3]
switches: {s: bridge}
every_link: {rate: 1gbit}
links:
  - {between: [h1, s]}
  - {between: [h2, s]}
  - {between: [h3, s]}
"""
SEED = int(os.environ.get("TUTTI_TEST_SEED", "20261121"))
SECONDS = 1200 if os.environ.get("TUTTI_TEST_LONG") == "1" else 30


def shared_memory_of(pids):
    """Files below /dev/shm whose names have the number of one of these processes."""
    return [str(path) for path in pathlib.Path("/dev/shm").rglob("*")
            if any(str(pid) in path.name.replace(".", "-").split("-") for pid in pids)]


class OnThreeHosts(unittest.TestCase):
    @contextlib.contextmanager
    def chaos(self, transports, **settings):
        from tutti_lab import topology
        from tutti_lab.cluster import Cluster
        from tutti_lab.events import Event
        from tutti_lab.plan import Plan
        with tempfile.TemporaryDirectory(prefix="tutti-chaos-") as folder, labs.TopologyFile(HOSTS) as path:
            loaded = topology.load(path)
            topology.check_events(loaded, [Event(0, "link", link.name, "loss", 0.0) for link in loaded.links], "chaos")
            with Cluster(Plan(loaded)) as cluster:
                made = Chaos(cluster, os.environ["LAB_CHAOS_MEMBER"], folder, transports, SEED, **settings)
                try:
                    yield made
                finally:
                    made.close()


class Cuts(OnThreeHosts):
    """However a host is cut off, the others notice it by the heartbeat's limit, long before any deadline."""

    def cut(self, fault):
        with self.chaos("shm,tcp", TUTTI_TIMEOUT="300s") as chaos:
            chaos.found(6)
            chaos.until(lambda: chaos.step > 5, "the first steps")
            chaos.link("h3", fault)
            began = time.monotonic()
            chaos.until(lambda: 1 in chaos.views, "a view without h3")
            took_s = time.monotonic() - began
            self.assertEqual(chaos.wrong, [], chaos.log())
            chaos.until(lambda: chaos.step > chaos.views[1][1], "a step of the new view")
            self.assertEqual({one.host for one in chaos.living if one.epoch == 1}, {"h1", "h2"})
            # Who does not hear may blame one that is well before the others blame it.
            self.assertIn(chaos.views[1][0], (3, 4))
            print(f"{' '.join(map(str, fault))}: a view without the host after {took_s:.1f} s", flush=True)

    def test_a_link_goes_down(self):
        self.cut(("down",))

    def test_a_host_falls_silent(self):
        self.cut(("loss", 1.0))

    def test_a_host_hears_and_is_not_heard(self):
        self.cut(("loss", 1.0, "s"))

    def test_a_host_is_heard_and_does_not_hear(self):
        self.cut(("loss", 1.0, "h3"))


class Campaign(OnThreeHosts):
    def run_with(self, transports):
        from tutti_lab import machine
        print(f"\n{transports}: seed {SEED}; replay with TUTTI_TEST_SEED={SEED}", flush=True)
        with self.chaos(transports) as chaos:
            chaos.found(2 * LEAST)
            chaos.disturb(SECONDS)
            left = [pid for host in chaos.hosts for pid in machine.processes(chaos.cluster.namespace(host))]
            print(chaos.summary(), flush=True)
            self.assertEqual(chaos.wrong, [], chaos.log())
            self.assertEqual(left, [], "processes that nobody has ended")
            self.assertEqual(shared_memory_of(chaos.pids), [])
            self.assertEqual(len(set(chaos.ends)), 1, chaos.ends)
            self.assertGreaterEqual(len(chaos.ends), LEAST // 2 + 1)
            self.assertGreater(chaos.joined, 0)
            self.assertGreater(sum(chaos.events.values()), SECONDS // 4)

    def test_one_model_is_left_by_tcp(self):
        self.run_with("tcp")

    def test_one_model_is_left_by_shared_memory_and_tcp(self):
        self.run_with("shm,tcp")


if __name__ == "__main__":
    labs.main(needs_namespaces=True)
