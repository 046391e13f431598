"""What happens at a time: "2s link a-b down", "3.5s rank 1 kill". One grammar for the file and the command line."""

from dataclasses import dataclass
from typing import Any

from tutti_lab import quantities
from tutti_lab.errors import BadInput

RANK_ACTIONS = ("kill", "terminate", "stop", "continue")
_LINK_VALUES = {"rate": (quantities.rate_bits, quantities.show_rate),
                "delay": (quantities.delay_ns, quantities.show_time),
                "loss": (quantities.loss_share, quantities.show_loss)}
EXPECTED = ('"TIME link NAME up|down|rate RATE|delay DELAY|loss LOSS [to NODE]" or '
            '"TIME rank NUMBER kill|terminate|stop|continue", such as "2s link a-b down"')


@dataclass(frozen=True)
class Event:
    at_ns: int
    kind: str  # "link" or "rank"
    target: Any  # the link's name, or the rank's number
    action: str
    value: Any = None  # of rate, delay and loss
    towards: Any = None  # of loss: the one end of the link at which packets are lost; None: both ways

    def __str__(self):
        value = "" if self.value is None else " " + _LINK_VALUES[self.action][1](self.value)
        return f"{self.kind} {self.target} {self.action}{value}" + (f" to {self.towards}" if self.towards else "")


def parse_event(text, where):
    """The event, or BadInput that begins with `where`."""
    def wrong(expected):
        return BadInput(f"{where}: '{text}': expected {expected}")

    words = text.split()
    if len(words) < 4:
        raise wrong(EXPECTED)
    try:
        at_ns = quantities.time_ns(words[0])
    except ValueError as error:
        raise wrong(f"{error}, where it says '{words[0]}'") from None
    kind, target, action, rest = words[1], words[2], words[3], words[4:]
    if kind == "rank":
        if not target.isdecimal() or action not in RANK_ACTIONS or rest:
            raise wrong("rank NUMBER " + "|".join(RANK_ACTIONS))
        return Event(at_ns, kind, int(target), action)
    if kind != "link":
        raise wrong(f"link or rank, where it says '{kind}'")
    if action in ("up", "down") and not rest:
        return Event(at_ns, kind, target, action)
    one_way = action == "loss" and len(rest) == 3 and rest[1] == "to"
    if action not in _LINK_VALUES or not (len(rest) == 1 or one_way):
        raise wrong("link NAME up|down|rate RATE|delay DELAY|loss LOSS [to NODE]")
    try:
        return Event(at_ns, kind, target, action, _LINK_VALUES[action][0](rest[0]), rest[2] if one_way else None)
    except ValueError as error:
        raise wrong(f"{error}, where it says '{rest[0]}'") from None
