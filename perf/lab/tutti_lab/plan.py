"""From a topology to interfaces, addresses and routes. Pure.

A segment is what bridges and plain links hold together on layer 2. Segment number S has the addresses 10.77.S.0/24,
given to hosts and routers in the order of the links. Routes are the shortest ones in routers passed, all of them where
several are equally short; hosts do not forward."""

from dataclasses import dataclass

from tutti_lab import quantities as q
from tutti_lab.errors import BadInput
from tutti_lab.topology import Topology

_MOST_SEGMENTS = 254
_FIRST_TABLE = 100  # of the routing tables that hosts with several NICs have, one a NIC


@dataclass
class Interface:
    node: str
    device: str
    link: object
    segment: int = 0
    address: str = ""  # empty on bridges


@dataclass(frozen=True)
class Route:
    table: str  # "main", or the number of a table
    prefix: str
    hops: tuple  # of (router address or None where the segment is attached, device), sorted


class _Groups:
    """Things that are joined one by one (union-find)."""

    def __init__(self):
        self.parents = {}

    def find(self, one):
        while one in self.parents:
            one = self.parents[one]
        return one

    def join(self, one, other):
        roots = self.find(one), self.find(other)
        if roots[0] != roots[1]:
            self.parents[roots[0]] = roots[1]


class Plan:
    def __init__(self, topology: Topology):
        self.topology = topology
        self.interfaces = {node: [] for node in topology.nodes()}
        self.ends = {}  # link name -> its two interfaces, in the order of the link's ends
        for link in topology.links:
            pair = []
            for node in link.ends:
                device = ("port" if node in topology.switches else "nic") + str(len(self.interfaces[node]))
                pair.append(Interface(node, device, link))
                self.interfaces[node].append(pair[-1])
            self.ends[link.name] = tuple(pair)
        self._give_addresses()

    def is_router(self, node):
        return self.topology.switches.get(node) == "router"

    def is_bridge(self, node):
        return self.topology.switches.get(node) == "bridge"

    def host_address(self, host):
        return self.interfaces[host][0].address

    def prefix(self, segment):
        return f"10.77.{segment}.0/24"

    def _joined(self, links):
        """Which interfaces are on one piece of layer 2 if only these links are up."""
        groups = _Groups()
        for link in links:
            for one in self.ends[link.name]:
                groups.join(link.name, self._place(one))
        return groups

    def _place(self, interface):
        return interface.node if self.is_bridge(interface.node) else (interface.node, interface.device)

    def _give_addresses(self):
        groups = self._joined(self.topology.links)
        numbers, members = {}, {}
        for link in self.topology.links:
            for one in self.ends[link.name]:
                one.segment = numbers.setdefault(groups.find(link.name), len(numbers) + 1)
                if self.is_bridge(one.node):
                    continue
                members[one.segment] = members.get(one.segment, 0) + 1
                one.address = f"10.77.{one.segment}.{members[one.segment]}"
        if len(numbers) > _MOST_SEGMENTS or max(members.values(), default=0) > _MOST_SEGMENTS:
            raise BadInput(f"{self.topology.path}: links: {len(numbers)} segments, the largest with "
                           f"{max(members.values())} interfaces; {_MOST_SEGMENTS} of each fit")

    def routes(self, down=()):
        """Node -> set of Route, with the links of these names down. What is attached to a host or router is in no
        main table here, as the kernel adds that by itself."""
        up = [link for link in self.topology.links if link.name not in down]
        groups = self._joined(up)
        attached = {}  # piece of layer 2 -> interfaces with an address on it
        for link in up:
            for one in self.ends[link.name]:
                if one.address:
                    attached.setdefault(groups.find(link.name), []).append(one)
        pieces = {(one.node, one.device): piece for piece, several in attached.items() for one in several}
        distances = self._distances(attached)
        result = {}
        for node in self.topology.nodes():
            mine = [one for one in self.interfaces[node] if (node, one.device) in pieces]
            routes = set(self._routes_through(mine, "main", attached, pieces, distances))
            if node in self.topology.hosts and len(self.interfaces[node]) > 1:
                for i, one in enumerate(self.interfaces[node]):
                    if one not in mine:
                        continue
                    table = str(_FIRST_TABLE + i)
                    routes.add(Route(table, self.prefix(one.segment), ((None, one.device),)))
                    routes.update(self._routes_through([one], table, attached, pieces, distances))
            result[node] = routes
        return result

    def source_tables(self, host):
        """(address, table) of every NIC of a host that has several: what leaves from an address leaves by its NIC."""
        several = self.interfaces[host]
        return [(one.address, str(_FIRST_TABLE + i)) for i, one in enumerate(several)] if len(several) > 1 else []

    def _distances(self, attached):
        """segment -> router -> routers passed on the way to it, the router itself not counted."""
        neighbours = {}
        segments = {}
        for several in attached.values():
            routers = [one for one in several if self.is_router(one.node)]
            for one in routers:
                neighbours.setdefault(one.node, set()).update(other.node for other in routers)
                segments.setdefault(one.segment, set()).add(one.node)
        distances = {}
        for segment, nearest in segments.items():
            found = dict.fromkeys(nearest, 0)
            todo = list(nearest)
            for node in todo:  # grows while it is walked
                for other in neighbours[node] - found.keys():
                    found[other] = found[node] + 1
                    todo.append(other)
            distances[segment] = found
        return distances

    def _routes_through(self, interfaces, table, attached, pieces, distances):
        here = {one.segment for one in interfaces}
        for segment, distance in distances.items():
            if segment in here:
                continue
            hops = []
            for one in interfaces:
                for other in attached[pieces[one.node, one.device]]:
                    if other.node != one.node and other.node in distance:
                        hops.append((distance[other.node], other.address, one.device))
            if hops:
                best = min(hops)[0]
                yield Route(table, self.prefix(segment),
                            tuple(sorted((address, device) for far, address, device in hops if far == best)))

    def text(self):
        """The topology for people."""
        lines = []
        for node in self.topology.nodes():
            kind = self.topology.switches.get(node, "host")
            lines.append(f"{kind} {node}")
            for one in self.interfaces[node]:
                other = next(end for end in self.ends[one.link.name] if end is not one)
                address = f"{one.address}/24" if one.address else "no address"
                lines.append(f"  {one.device:7} {address:17} link {one.link.name} to {other.node} {other.device}")
        for link in self.topology.links:
            values = [q.show_rate(link.rate) if link.rate else "no limit of rate"]
            values.append(f"queue {q.show_bytes(link.queue_bytes())}" if link.rate else "")
            values.append(f"delay {q.show_time(link.delay)} each way" if link.delay is not None else "")
            values.append(f"loss {q.show_loss(link.loss)}" if link.loses else "")
            values.append(f"mtu {link.mtu}")
            lines.append(f"link {link.name}: {', '.join(value for value in values if value)}")
        with_hosts = {self.prefix(one.segment) for host in self.topology.hosts for one in self.interfaces[host]}
        for node, routes in self.routes().items():
            for route in sorted(routes, key=lambda one: (one.table, [int(n) for n in one.prefix[:-3].split(".")])):
                if route.table == "main" and route.prefix in with_hosts:
                    hops = " or ".join(f"{address} by {device}" for address, device in route.hops)
                    lines.append(f"route {node}: {route.prefix} through {hops}")
        for event in self.topology.events:
            lines.append(f"event at {q.show_time(event.at_ns)}: {event}")
        return "\n".join(lines)
