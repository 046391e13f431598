"""A planned topology as namespaces: built, changed while it runs, removed."""

import shlex
import subprocess
import time

from tutti_lab import machine, relay
from tutti_lab.errors import MachineError

_RELAY_NODE = "0relay"  # no node of a topology can have this name
_ROUTE_MARK = "proto 77"  # tells the lab's routes from the kernel's
_CARRIER_PATIENCE_S = 5
_LARGEST_SEGMENT = 65536
_ARP = 0x0806  # in bytes 12 and 13 of a frame
_RANDOM_PLACE = 0xFFFFF038  # of a classic BPF load that gives a random number
_SETTINGS = {
    "net/ipv6/conf/all/disable_ipv6": 1,
    "net/ipv6/conf/default/disable_ipv6": 1,
    "net/ipv4/fib_multipath_hash_policy": 1,  # addresses and ports
    "net/ipv4/conf/all/rp_filter": 0,
    "net/ipv4/conf/default/rp_filter": 0,
    "net/ipv4/conf/all/arp_ignore": 1,  # a NIC answers for its own address alone, as if it were a machine's only one
    "net/ipv4/conf/all/arp_announce": 2,
    "net/ipv4/conf/all/send_redirects": 0,
    "net/ipv4/conf/default/send_redirects": 0,
}


class Cluster:
    """A context: whatever ends the block, everything that was made is removed."""

    def __init__(self, plan):
        self.plan = plan
        self.topology = plan.topology
        self.prefix = machine.own_prefix()
        self.down = set()  # names of links
        self.routes = {node: set() for node in self.topology.nodes()}
        self.delayed = [link for link in self.topology.links if link.delay is not None]
        self.relay = None

    def namespace(self, node):
        return self.prefix + node

    def __enter__(self):
        try:
            machine.check_permission()
            self._build()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_):
        self.remove()

    def remove(self):
        if self.relay is not None:
            self.relay.close()
        machine.remove_own()

    def _build(self):
        nodes = self.topology.nodes() + ([_RELAY_NODE] if self.delayed else [])
        for node in nodes:
            machine.call(["ip", "netns", "add", self.namespace(node)])
        for node in nodes:
            settings = dict(_SETTINGS)
            if self.plan.is_router(node):
                settings["net/ipv4/ip_forward"] = 1
            script = "\n".join(f"echo {value} > /proc/sys/{key}" for key, value in settings.items())
            machine.call(["ip", "netns", "exec", self.namespace(node), "sh", "-ec", script])
        for link in self.topology.links:
            self._make_cable(link)
        for node in self.topology.nodes():
            machine.batch("ip", self.namespace(node), self._device_lines(node))
        for link in self.topology.links:
            self._set_rate(link, link.rate)
            if link.loses:
                self._set_loss(link, link.loss)
        self._set_routes(self.plan.routes())
        if self.delayed:
            names = self._relay_devices()
            machine.batch("ip", self.namespace(_RELAY_NODE),
                          [f"link set {name} up" for pair in names for name in pair])
            self.relay = relay.Relay(self.namespace(_RELAY_NODE),
                                     [(*pair, link.delay) for pair, link in zip(names, self.delayed)])
        self._wait_for_carriers()

    def _relay_devices(self):
        return [(f"l{i}a", f"l{i}b") for i in range(len(self.delayed))]

    def _make_cable(self, link):
        """A pair of veths; where there is delay, one from each end to the relay."""
        ends = self.plan.ends[link.name]
        if link.delay is None:
            machine.batch("ip", self.namespace(ends[0].node),
                          [f"link add {ends[0].device} mtu {link.mtu} type veth peer name {ends[1].device} "
                           f"mtu {link.mtu} netns {self.namespace(ends[1].node)}"])
            senders = [(one.node, one.device) for one in ends]
        else:
            middle = _RELAY_NODE
            names = self._relay_devices()[self.delayed.index(link)]
            for one, name in zip(ends, names):
                machine.batch("ip", self.namespace(one.node),
                              [f"link add {one.device} mtu {link.mtu} type veth peer name {name} mtu {link.mtu} "
                               f"netns {self.namespace(middle)}"])
            senders = [(middle, name) for name in names]
        if link.loses:  # cut large segments before the loss, which would lose them whole
            for node, device in senders:
                machine.batch("ip", self.namespace(node), [f"link set dev {device} gso_max_segs 1"])

    def _device_lines(self, node):
        lines = ["link set lo up"]
        if self.plan.is_bridge(node):
            lines += ["link add bridge type bridge stp_state 0", "link set bridge up"]
        for one in self.plan.interfaces[node]:
            if one.address:
                lines.append(f"address add {one.address}/24 dev {one.device}")
            else:
                lines.append(f"link set {one.device} master bridge")
            lines.append(f"link set {one.device} up")
        if node in self.topology.hosts:
            lines += [f"rule add from {address} lookup {table}" for address, table in self.plan.source_tables(node)]
        return lines

    def _wait_for_carriers(self):
        """The kernel reports carriers a little after the devices are up."""
        end = time.monotonic() + _CARRIER_PATIENCE_S
        waiting = set(self.topology.nodes())
        while waiting:
            for node in sorted(waiting):
                shown = machine.call(["ip", "-n", self.namespace(node), "-brief", "link", "show", "type", "veth"])
                if all(line.split()[1] == "UP" for line in shown.splitlines()):
                    waiting.remove(node)
            if waiting and time.monotonic() > end:
                raise MachineError(f"the links of {', '.join(sorted(waiting))} have no carrier after "
                                   f"{_CARRIER_PATIENCE_S} s")
            if waiting:
                time.sleep(0.02)

    def apply(self, event):
        """An event of a link."""
        link = self.topology.link(event.target)
        if event.action in ("up", "down"):
            self._set_up(link, event.action == "up")
        elif event.action == "rate":
            self._set_rate(link, event.value)
        elif event.action == "loss":
            self._set_loss(link, event.value, event.towards)
        else:
            self.relay.set_delay(self.delayed.index(link), event.value)

    def _set_rate(self, link, rate):
        if rate is None:
            return
        # A burst as short as 0.1 ms, so that messages of some ten KiB already feel the rate; and large segments no
        # longer than that, because tbf would cut longer ones into packets, which costs eight times the processor time.
        burst = max(2 * (link.mtu + 14), rate // 80_000)
        for one in self.plan.ends[link.name]:
            machine.batch("ip", self.namespace(one.node),
                          [f"link set dev {one.device} gso_max_size {min(burst, _LARGEST_SEGMENT)}"])
            machine.batch("tc", self.namespace(one.node),
                          [f"qdisc replace dev {one.device} root handle 1: tbf rate {rate}bit burst {burst}b "
                           f"limit {link.queue_bytes()}b"])

    def _set_loss(self, link, share, towards=None):
        """A filter where packets come in: a random number of 32 bits below the bound is lost. ARP always passes, since
        a host that has lost three questions in a row calls its neighbour unreachable, which is no loss any more."""
        bound = round(share * 2**32)
        lost, passed = "6 0 0 2", "6 0 0 0"
        if bound >= 2**32:
            program = f"4,40 0 0 12,21 0 1 {_ARP},{passed},{lost}"
        else:
            program = f"6,40 0 0 12,21 2 0 {_ARP},32 0 0 {_RANDOM_PLACE},53 0 1 {bound},{passed},{lost}"
        for one in self.plan.ends[link.name]:
            if towards not in (None, one.node):
                continue
            machine.batch("tc", self.namespace(one.node),
                          [f"qdisc replace dev {one.device} clsact",
                           f"filter replace dev {one.device} ingress prio 1 handle 1 bpf direct-action "
                           f"bytecode \"{program}\""])

    def _set_up(self, link, up):
        """As if the cable were pulled or put in: both ends see it, and routers find other ways at once."""
        (self.down.discard if up else self.down.add)(link.name)
        after = self.plan.routes(self.down)
        if up:  # else a way round would be in the way of the kernel's own route to the segment
            self._set_routes({node: routes & after[node] for node, routes in self.routes.items()})
        for one in self.plan.ends[link.name]:
            machine.batch("ip", self.namespace(one.node), [f"link set {one.device} {'up' if up else 'down'}"])
        self._set_routes(after)

    def _set_routes(self, wanted):
        for node, routes in wanted.items():
            kept = {(one.table, one.prefix) for one in routes}
            gone = [f"route delete {one.prefix} table {one.table} {_ROUTE_MARK}"
                    for one in self.routes[node] if (one.table, one.prefix) not in kept]
            machine.batch("ip", self.namespace(node), gone, tolerant=True)  # some went with their device
            lines = []
            for one in routes - self.routes[node]:
                hops = "".join(f" nexthop via {address} dev {device}" if address else f" dev {device}"
                               for address, device in one.hops)
                lines.append(f"route replace {one.prefix} table {one.table} {_ROUTE_MARK}{hops}")
            machine.batch("ip", self.namespace(node), lines)
            self.routes[node] = set(routes)

    def command(self, host, arguments):
        """The arguments in front of which everything is as on the host: network, name, speeds of the NICs. The process
        that is started becomes the command itself."""
        lines = [f"hostname {host}"]
        rated = [one for one in self.plan.interfaces[host] if one.link.rate]
        if rated:  # a veth always says 10000; the files live in this mount namespace alone
            lines.append("mount -t tmpfs tutti-lab /mnt")
            for one in rated:
                lines.append(f"echo {max(1, one.link.rate // 10**6)} > /mnt/{one.device}")
                lines.append(f"mount --bind /mnt/{one.device} /sys/class/net/{one.device}/speed")
            lines.append("umount -l /mnt")
        lines.append('exec "$@"')
        return ["ip", "netns", "exec", self.namespace(host), "unshare", "--uts", "sh", "-ec", "\n".join(lines), "sh",
                *arguments]

    def shell(self, host, arguments):
        """In the foreground; its exit status."""
        print(f"lab: {host} is the namespace {shlex.quote(self.namespace(host))}", flush=True)
        return subprocess.call(self.command(host, arguments))
