"""Quantities as people write them: 1gbit, 20ms, 0.5%, 1MiB. Each parser takes text and gives a number in the unit of
its name, or raises ValueError with what would have been right."""

import re

_NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z%]*)")

_BITS = {"bit": 1, "kbit": 10**3, "mbit": 10**6, "gbit": 10**9}
_NANOSECONDS = {"us": 10**3, "ms": 10**6, "s": 10**9}
_BYTES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}

RATE_EXPECTED = "a rate from 8kbit to 1000gbit, in bit, kbit, mbit or gbit, such as 1gbit"
DELAY_EXPECTED = "a delay from 0ms to 60s, in us, ms or s, such as 20ms"
LOSS_EXPECTED = "a share from 0% to 100%, such as 0.5%"
BYTES_EXPECTED = "a size from 1514B to 1GiB, in B, KiB, MiB or GiB, such as 1MiB"
MTU_EXPECTED = "a number of bytes from 576 to 9000"
TIME_EXPECTED = "a time from 0s, in us, ms or s, such as 2.5s"


def _scaled(text, units, least, most, expected):
    match = _NUMBER.fullmatch(text.strip())
    if not match or match[2] not in units:
        raise ValueError(expected)
    value = float(match[1]) * units[match[2]]
    if not least <= value <= most:
        raise ValueError(expected)
    return round(value)


def rate_bits(text):
    return _scaled(text, _BITS, 8_000, 10**12, RATE_EXPECTED)


def delay_ns(text):
    return _scaled(text, _NANOSECONDS, 0, 60 * 10**9, DELAY_EXPECTED)


def time_ns(text):
    return _scaled(text, _NANOSECONDS, 0, 10**15, TIME_EXPECTED)


def size_bytes(text):
    return _scaled(text, _BYTES, 1514, 2**30, BYTES_EXPECTED)


def mtu_bytes(text):
    return _scaled(text, {"": 1}, 576, 9000, MTU_EXPECTED)


def loss_share(text):
    match = _NUMBER.fullmatch(text.strip())
    if not match or match[2] != "%" or float(match[1]) > 100:
        raise ValueError(LOSS_EXPECTED)
    return float(match[1]) / 100


def _shown(value, units):
    name, unit = max(((n, u) for n, u in units.items() if u <= max(value, 1)), key=lambda one: one[1],
                     default=min(units.items(), key=lambda one: one[1]))
    return f"{value / unit:g}{name}"


def show_rate(bits):
    return _shown(bits, _BITS)


def show_time(nanoseconds):
    return _shown(nanoseconds, _NANOSECONDS)


def show_bytes(count):
    return _shown(count, _BYTES)


def show_loss(share):
    return f"{share * 100:g}%"
