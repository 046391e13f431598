"""The topology file: what is read, what is refused and why. Everything here is pure."""

import difflib
import re
from dataclasses import dataclass, field
from typing import Optional

import yaml

from tutti_lab import events, quantities
from tutti_lab.errors import BadInput

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,30}")
_NAME_EXPECTED = "a name of letters, digits and _ that begins with a letter, 31 characters at most"
_LINK_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_MOST_NODES = 250

_LINK_VALUES = {"rate": quantities.rate_bits, "delay": quantities.delay_ns, "loss": quantities.loss_share,
                "mtu": quantities.mtu_bytes, "queue": quantities.size_bytes}


@dataclass
class Link:
    name: str
    ends: tuple  # the names of two nodes
    rate: Optional[int] = None  # bits per second; None: as fast as the machine
    delay: Optional[int] = None  # nanoseconds each way; None: no relay, so it cannot be changed either
    loss: float = 0.0
    mtu: int = 1500
    queue: Optional[int] = None  # bytes that wait where the rate is the limit; None: chosen from the rate
    loses: bool = False  # there is loss at some time

    def queue_bytes(self):
        return self.queue or max(512 * 1024, self.rate // 800)  # 10 ms


@dataclass
class Topology:
    path: str
    hosts: list = field(default_factory=list)
    switches: dict = field(default_factory=dict)  # name -> "bridge" or "router"
    links: list = field(default_factory=list)
    events: list = field(default_factory=list)

    def nodes(self):
        return self.hosts + list(self.switches)

    def link(self, name):
        """By its name, or by its ends the other way round; None where there is none."""
        for one in self.links:
            if one.name == name:
                return one
        turned = "-".join(reversed(name.split("-")))
        matches = [one for one in self.links if "-".join(one.ends) in (name, turned)]
        return matches[0] if len(matches) == 1 else None


class _Reader:
    """Walks the YAML nodes, so that every error can name the line, and text stays as it was written."""

    def __init__(self, path):
        self.path = path

    def wrong(self, node, where, expected):
        line = f":{node.start_mark.line + 1}" if node is not None else ""
        return BadInput(f"{self.path}{line}: {where}: {expected}")

    @staticmethod
    def kind(node):
        return {"scalar": f"'{node.value}'", "sequence": "a list", "mapping": "a mapping"}[node.id]

    def text(self, node, where, expected):
        if not isinstance(node, yaml.ScalarNode) or node.value == "":
            raise self.wrong(node, where, f"{self.kind(node)} is not {expected}")
        return node.value

    def items(self, node, where, expected):
        if not isinstance(node, yaml.SequenceNode):
            raise self.wrong(node, where, f"{self.kind(node)} is not {expected}")
        return node.value

    def mapping(self, node, where, known, expected):
        """Key -> value node. `known`: the keys there are, or None where any will do."""
        if not isinstance(node, yaml.MappingNode):
            raise self.wrong(node, where, f"{self.kind(node)} is not {expected}")
        found = {}
        for key_node, value in node.value:
            key = self.text(key_node, where, "a key")
            if known is not None and key not in known:
                near = difflib.get_close_matches(key, known, 1)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise self.wrong(key_node, f"{where}: unknown key '{key}'",
                                 f"expected one of {', '.join(known)}{hint}")
            if key in found:
                raise self.wrong(key_node, f"{where}: key '{key}'", "is there twice")
            found[key] = value
        return found

    def name(self, node, where):
        text = self.text(node, where, _NAME_EXPECTED)
        if not _NAME.fullmatch(text):
            raise self.wrong(node, where, f"'{text}' is not {_NAME_EXPECTED}")
        return text

    def link_values(self, mapping, where):
        values = {}
        for key, parse in _LINK_VALUES.items():
            if key not in mapping:
                continue
            text = self.text(mapping[key], f"{where}.{key}", "a value")
            try:
                values[key] = parse(text)
            except ValueError as error:
                raise self.wrong(mapping[key], f"{where}.{key}", f"'{text}' is not {error}") from None
        return values


def load(path):
    """The topology in the file; BadInput where it is none."""
    try:
        with open(path, encoding="utf-8") as file:
            root = yaml.compose(file, Loader=yaml.SafeLoader)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror} ({error.errno})") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: is not text in UTF-8: {error}") from None
    except yaml.YAMLError as error:
        raise BadInput(f"{path}: is not YAML: {' '.join(str(error).split())}") from None
    if root is None:
        raise BadInput(f"{path}: is empty; expected the keys hosts and links")
    reader = _Reader(path)
    top = reader.mapping(root, "topology", ("hosts", "switches", "every_link", "links", "events"), "a mapping of keys")
    for key in ("hosts", "links"):
        if key not in top:
            raise reader.wrong(root, "topology", f"the key '{key}' is missing")
    topology = Topology(path)
    _read_nodes(reader, top, topology)
    _read_links(reader, top, topology)
    if "events" in top:
        for i, node in enumerate(reader.items(top["events"], "events", "a list of events")):
            where = f"{path}:{node.start_mark.line + 1}: events[{i}]"
            topology.events.append(events.parse_event(reader.text(node, f"events[{i}]", events.EXPECTED), where))
    check_events(topology, topology.events, f"{path}: events")
    return topology


def _read_nodes(reader, top, topology):
    for i, node in enumerate(reader.items(top["hosts"], "hosts", "a list of names")):
        name = reader.name(node, f"hosts[{i}]")
        if name in topology.hosts:
            raise reader.wrong(node, f"hosts[{i}]", f"there are two hosts named '{name}'")
        topology.hosts.append(name)
    if not topology.hosts:
        raise reader.wrong(top["hosts"], "hosts", "there is none; expected one name or more")
    if "switches" in top:
        switches = reader.mapping(top["switches"], "switches", None, "a mapping of names to bridge or router")
        for key, node in switches.items():
            where = f"switches.{key}"
            if not _NAME.fullmatch(key):
                raise reader.wrong(node, where, f"'{key}' is not {_NAME_EXPECTED}")
            kind = reader.text(node, where, "bridge or router")
            if kind not in ("bridge", "router"):
                raise reader.wrong(node, where, f"'{kind}' is not bridge or router")
            if key in topology.hosts:
                raise reader.wrong(node, where, f"there is a host named '{key}' already")
            topology.switches[key] = kind
    if len(topology.nodes()) > _MOST_NODES:
        raise reader.wrong(top["hosts"], "hosts", f"{len(topology.nodes())} hosts and switches; at most {_MOST_NODES} "
                                                  "fit")


def _read_links(reader, top, topology):
    every = {}
    if "every_link" in top:
        mapping = reader.mapping(top["every_link"], "every_link", tuple(_LINK_VALUES), "a mapping of keys")
        every = reader.link_values(mapping, "every_link")
    parents = {}  # of bridges that are joined

    def joined(bridge):
        while bridge in parents:
            bridge = parents[bridge]
        return bridge

    for i, node in enumerate(reader.items(top["links"], "links", "a list of links")):
        where = f"links[{i}]"
        mapping = reader.mapping(node, where, ("between", "name", *_LINK_VALUES), "a mapping of keys")
        if "between" not in mapping:
            raise reader.wrong(node, where, "the key 'between' is missing; expected two names, such as [a, b]")
        ends = _read_ends(reader, mapping["between"], f"{where}.between", topology)
        name = "-".join(ends)
        if "name" in mapping:
            name = reader.text(mapping["name"], f"{where}.name", "a name")
            if not _LINK_NAME.fullmatch(name):
                raise reader.wrong(mapping["name"], f"{where}.name", f"'{name}' is not a name of letters, digits, _ "
                                                                     "and - that begins with a letter")
        if any(other.name == name for other in topology.links):
            raise reader.wrong(node, where, f"there are two links named '{name}'; give one the key 'name'")
        if all(topology.switches.get(end) == "bridge" for end in ends):
            roots = [joined(end) for end in ends]
            if roots[0] == roots[1]:
                raise reader.wrong(node, where, f"the bridges {ends[0]} and {ends[1]} are joined already, and a loop "
                                                "of bridges floods itself; make them routers")
            parents[roots[0]] = roots[1]
        topology.links.append(Link(name, ends, **{**every, **reader.link_values(mapping, where)}))
        topology.links[-1].loses = topology.links[-1].loss > 0
    if not topology.links:
        raise reader.wrong(top["links"], "links", "there is none; expected one link or more")
    for host in topology.hosts:
        if not any(host in link.ends for link in topology.links):
            raise reader.wrong(top["hosts"], "hosts", f"no link leads to '{host}'")


def _read_ends(reader, node, where, topology):
    items = reader.items(node, where, "two names, such as [a, b]")
    if len(items) != 2:
        raise reader.wrong(node, where, f"{len(items)} names; expected two, such as [a, b]")
    ends = tuple(reader.text(item, where, "the name of a host or switch") for item in items)
    for end in ends:
        if end not in topology.nodes():
            near = difflib.get_close_matches(end, topology.nodes(), 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise reader.wrong(node, where, f"'{end}' is neither a host nor a switch; there are "
                                            f"{', '.join(topology.nodes())}{hint}")
    if ends[0] == ends[1]:
        raise reader.wrong(node, where, f"both ends are '{ends[0]}'")
    return ends


def check_events(topology, wanted, where, ranks=None):
    """That every event has a target, and prepares links for what comes: a relay, packets that can be lost one by one.
    `ranks`: how many there will be, where that is known."""
    for event in wanted:
        if event.kind == "rank":
            if ranks is not None and event.target >= ranks:
                raise BadInput(f"{where}: '{event}': there are {ranks} ranks, from 0 to {ranks - 1}")
            continue
        link = topology.link(event.target)
        if link is None:
            raise BadInput(f"{where}: '{event}': there is no link of that name; there are "
                           f"{', '.join(one.name for one in topology.links)}")
        if event.towards is not None and event.towards not in link.ends:
            raise BadInput(f"{where}: '{event}': link {link.name} leads to {' and '.join(link.ends)}, not to "
                           f"'{event.towards}'")
        if event.action == "delay" and link.delay is None:
            link.delay = 0
        if event.action == "loss":
            link.loses = True
