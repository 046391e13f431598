"""The topology file and the events: what is refused and how it is said; addresses and routes. Nothing is started."""

import subprocess
import unittest

import labs


def load(text):
    from tutti_lab import topology
    with labs.TopologyFile(text) as path:
        return topology.load(path)


def plan_of(text):
    from tutti_lab.plan import Plan
    return Plan(load(text))


def links(*lines):
    return "hosts: [a, b]\nlinks:\n" + "".join(f"  - {line}\n" for line in lines)


WRONG = [
    # (text, what the error says after the path)
    ("", ": is empty; expected the keys hosts and links"),
    ("hosts: [a\n", ": is not YAML: "),
    ("- a\n", ":1: topology: a list is not a mapping of keys"),
    ("hosts: [a]\n", ":1: topology: the key 'links' is missing"),
    ("links: []\n", ":1: topology: the key 'hosts' is missing"),
    ("hosts: [a, b]\nlinsk: []\n", ":2: topology: unknown key 'linsk': expected one of hosts, switches, every_link, "
                                   "links, events; did you mean links?"),
    ("hosts: [a]\nhosts: [b]\n", ":2: topology: key 'hosts': is there twice"),
    ("hosts: a\nlinks: []\n", ":1: hosts: 'a' is not a list of names"),
    ("hosts: []\nlinks: []\n", ":1: hosts: there is none; expected one name or more"),
    ("hosts: [a, b, a]\nlinks: []\n", ":1: hosts[2]: there are two hosts named 'a'"),
    ("hosts: [a-b]\nlinks: []\n", ":1: hosts[0]: 'a-b' is not a name of letters, digits and _ "),
    ("hosts: [a]\nswitches: {a: bridge}\nlinks: []\n", ":2: switches.a: there is a host named 'a' already"),
    ("hosts: [a]\nswitches: {s: hub}\nlinks: []\n", ":2: switches.s: 'hub' is not bridge or router"),
    ("hosts: [a]\nswitches: {s: bridge, s: router}\nlinks: []\n", ":2: switches: key 's': is there twice"),
    ("hosts: [a, b]\nlinks: []\n", ":2: links: there is none; expected one link or more"),
    (links("{rate: 1gbit}"), ":3: links[0]: the key 'between' is missing; expected two names, such as [a, b]"),
    (links("{between: [a, c]}"), ":3: links[0].between: 'c' is neither a host nor a switch; there are a, b"),
    (links("{between: [a]}"), ":3: links[0].between: 1 names; expected two, such as [a, b]"),
    (links("{between: [a, a]}"), ":3: links[0].between: both ends are 'a'"),
    (links("{between: [a, b], rate: -5mbit}"), ":3: links[0].rate: '-5mbit' is not a rate from 8kbit to 1000gbit"),
    (links("{between: [a, b], rate: 1000}"), ":3: links[0].rate: '1000' is not a rate from 8kbit"),
    (links("{between: [a, b], rate: [1gbit]}"), ":3: links[0].rate: a list is not a value"),
    (links("{between: [a, b], delay: 20}"), ":3: links[0].delay: '20' is not a delay from 0ms to 60s"),
    (links("{between: [a, b], loss: 120%}"), ":3: links[0].loss: '120%' is not a share from 0% to 100%"),
    (links("{between: [a, b], mtu: 100000}"), ":3: links[0].mtu: '100000' is not a number of bytes from 576 to 9000"),
    (links("{between: [a, b], speed: 1gbit}"), ":3: links[0]: unknown key 'speed': expected one of between, name, "),
    (links("{between: [a, b]}", "{between: [a, b]}"), ":4: links[1]: there are two links named 'a-b'; give one the "
                                                      "key 'name'"),
    ("hosts: [a, b, c]\nlinks:\n  - {between: [a, b]}\n", ":1: hosts: no link leads to 'c'"),
    ("hosts: [a]\nswitches: {s: bridge, t: bridge}\nlinks:\n  - {between: [a, s]}\n  - {between: [s, t]}\n"
     "  - {between: [t, s], name: again}\n", ":6: links[2]: the bridges t and s are joined already"),
    (links("{between: [a, b]}") + "events: ['2s link a-c down']\n", ": events: 'link a-c down': there is no link of "
                                                                    "that name; there are a-b"),
    (links("{between: [a, b]}") + "events: ['soon link a-b down']\n", ":4: events[0]: 'soon link a-b down': expected "
                                                                      "a time from 0s"),
    (links("{between: [a, b]}") + "events: ['2s link a-b away']\n", ":4: events[0]: '2s link a-b away': expected link "
                                                                    "NAME up|down|rate RATE|delay DELAY|loss LOSS"),
    (links("{between: [a, b]}") + "events: ['2s link a-b loss 5% to c']\n", ": events: 'link a-b loss 5% to c': link "
                                                                            "a-b leads to a and b, not to 'c'"),
    (links("{between: [a, b]}") + "events: ['2s rank x kill']\n", ":4: events[0]: '2s rank x kill': expected rank "
                                                                  "NUMBER kill|terminate|stop|continue"),
]


class WrongTopologies(unittest.TestCase):
    def test_each_is_refused_with_place_and_expectation(self):
        from tutti_lab.errors import BadInput
        for text, expected in WRONG:
            with self.subTest(text=text):
                with self.assertRaises(BadInput) as caught:
                    load(text)
                self.assertIn("topology.yaml" + expected, str(caught.exception))

    def test_a_file_that_is_not_there(self):
        from tutti_lab import topology
        from tutti_lab.errors import BadInput
        with self.assertRaisesRegex(BadInput, r"^/nowhere/t.yaml: cannot be read: No such file or directory \(2\)$"):
            topology.load("/nowhere/t.yaml")

    def test_an_event_for_a_rank_that_will_not_be(self):
        done = labs.run_lab(labs.TWO_HOSTS, ["true"], "--event", "1s rank 2 kill")
        self.assertEqual(done.returncode, 2)
        self.assertEqual(done.stderr, "lab: --event: 'rank 2 kill': there are 2 ranks, from 0 to 1\n")


class WrongCommandLines(unittest.TestCase):
    def test_each_is_refused_with_what_would_have_been_right(self):
        file = str(labs.TOPOLOGIES / "two_hosts_1g.yaml")
        for arguments, expected in [
            (["run", file], "there is no command; it stands at the end, after --"),
            (["run", file, "ls", "-l"], "there is no command; it stands at the end, after --"),
            (["run", file, "ls", "--", "ls"], "'ls' is no argument of run; what is to run on the hosts stands after --"),
            (["run", file, "--", "no-such-program"], "command 'no-such-program' is in no folder of PATH"),
            (["run", file, "--event", "1 link h1-h2 down", "--", "ls"], "expected a time from 0s, in us, ms or s"),
            (["run", file, "--ranks-per-host", "0", "--", "ls"], "'0' is not a number of ranks from 1 to 1024"),
            (["shell", file, "h3"], "there is no host 'h3'; there are h1, h2"),
        ]:
            with self.subTest(arguments=arguments):
                done = subprocess.run(labs.lab_command(*arguments), capture_output=True, text=True, check=False)
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertIn(expected, done.stderr)
                self.assertEqual(done.stdout, "")


class Topologies(unittest.TestCase):
    def test_those_that_come_with_the_lab_are_right(self):
        from tutti_lab import topology
        from tutti_lab.plan import Plan
        files = sorted(labs.TOPOLOGIES.glob("*.yaml"))
        self.assertGreaterEqual(len(files), 5)
        for path in files:
            with self.subTest(path=path.name):
                self.assertIn("host h1", Plan(topology.load(str(path))).text())

    def test_values_have_their_units(self):
        values = "rate: 2.5gbit, delay: 100us, loss: 0.5%, queue: 1MiB, mtu: 9000"
        link = load(links("{between: [a, b], " + values + "}")).links[0]
        self.assertEqual((link.rate, link.delay, link.loss, link.queue, link.mtu),
                         (2_500_000_000, 100_000, 0.005, 2**20, 9000))

    def test_every_link_gives_what_a_link_does_not_say(self):
        found = load("hosts: [a, b]\nevery_link: {rate: 1gbit, delay: 1ms}\nlinks:\n"
                     "  - {between: [a, b]}\n  - {between: [a, b], name: slow, rate: 1mbit}\n").links
        self.assertEqual([(one.rate, one.delay) for one in found], [(10**9, 10**6), (10**6, 10**6)])

    def test_a_link_is_found_by_its_ends_both_ways(self):
        topology = load(links("{between: [a, b], name: cable}"))
        for name in ("cable", "a-b", "b-a"):
            self.assertIs(topology.link(name), topology.links[0])
        self.assertIsNone(topology.link("a-c"))


class Routes(unittest.TestCase):
    @staticmethod
    def hops(routes, prefix):
        return [hop for route in routes if route.prefix == prefix for hop in route.hops]

    def test_hosts_on_one_switch_share_a_segment(self):
        plan = plan_of("hosts: [a, b]\nswitches: {s: bridge, t: bridge}\nlinks:\n"
                       "  - {between: [a, s]}\n  - {between: [s, t]}\n  - {between: [t, b]}\n")
        self.assertEqual([plan.host_address(host) for host in "ab"], ["10.77.1.1", "10.77.1.2"])
        self.assertFalse(any(plan.routes().values()))

    def test_leaves_use_both_spines(self):
        plan = plan_of(labs.LEAVES)
        self.assertEqual(self.hops(plan.routes()["leaf1"], "10.77.2.0/24"),
                         [("10.77.3.2", "port1"), ("10.77.4.2", "port2")])

    def test_all_leaves_avoid_a_spine_with_a_link_down(self):
        routes = plan_of(labs.LEAVES).routes(down={"leaf1-spine1"})
        self.assertEqual(self.hops(routes["leaf1"], "10.77.2.0/24"), [("10.77.4.2", "port2")])
        self.assertEqual(self.hops(routes["leaf2"], "10.77.1.0/24"), [("10.77.6.2", "port2")])

    def test_there_is_no_route_where_there_is_no_way(self):
        routes = plan_of(labs.LEAVES).routes(down={"leaf1-spine1", "leaf1-spine2"})
        self.assertEqual(self.hops(routes["leaf1"], "10.77.2.0/24"), [])
        self.assertEqual(self.hops(routes["leaf2"], "10.77.1.0/24"), [])

    def test_hosts_do_not_forward(self):
        plan = plan_of("hosts: [a, b, c]\nlinks:\n  - {between: [a, b]}\n  - {between: [b, c]}\n")
        self.assertEqual([route for route in plan.routes()["a"] if route.table == "main"], [])

    def test_each_nic_of_several_has_a_table(self):
        plan = plan_of(links("{between: [a, b], name: one}", "{between: [a, b], name: two}"))
        self.assertEqual(plan.source_tables("a"), [("10.77.1.1", "100"), ("10.77.2.1", "101")])
        self.assertEqual({(route.table, route.prefix) for route in plan.routes()["a"]},
                         {("100", "10.77.1.0/24"), ("101", "10.77.2.0/24")})


if __name__ == "__main__":
    labs.main(needs_namespaces=False)
