"""The command line."""

import argparse
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[3]
PEERS = ("tutti", "tutti-malloc", "openmpi", "openmpi-yield", "mpich", "mpich5", "oneccl", "gloo", "gloo-bcube")
COLLECTIVES = ("all_reduce", "reduce_scatter", "all_gather", "all_to_all", "broadcast")
TRANSPORTS = ("shm", "lo", "lab2", "lab4")
LAB_HOSTS = {"lab2": 2, "lab4": 4}
_RANKS_MAX = 256
_PICTURES = (".svg", ".png")


def library_of(peer):
    """Of a peer, which may be a library with another setting."""
    return peer.partition("-")[0]


def bytes_of(text):
    """The number of bytes that "8", "64K" or "16M" means."""
    match = re.fullmatch(r"([1-9][0-9]{0,11})([kKmMgG]?)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"'{text}' is not a size; expected bytes such as 8, 64K or 16M")
    return int(match[1]) << {"": 0, "k": 10, "m": 20, "g": 30}[match[2].lower()]


def bytes_text(size):
    for unit in ("B", "KiB", "MiB"):
        if size % 1024 or size == 0:
            return f"{size} {unit}"
        size //= 1024
    return f"{size} GiB"


def _names(known):
    def read(text):
        names = text.split(",")
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"'{name}' is none; there are {', '.join(known)}")
        return list(dict.fromkeys(names))
    return read


def _sizes(text):
    return [bytes_of(part) for part in text.split(",")]


def _ranks(text):
    for part in text.split(","):
        if not part.isdecimal() or not 2 <= int(part) <= _RANKS_MAX:
            raise argparse.ArgumentTypeError(f"'{part}' is not a number of ranks from 2 to {_RANKS_MAX}")
    return [int(part) for part in text.split(",")]


def _whole(least, most):
    def read(text):
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from {least} to {most}")
        return int(text)
    return read


def _seconds(text):
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value <= 3600:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds above 0, up to 3600")
    return value


def _picture(text):
    path = pathlib.Path(text)
    if path.suffix not in _PICTURES:
        raise argparse.ArgumentTypeError(f"'{text}' is no name of a picture; expected one that ends in {' or '.join(_PICTURES)}")
    return path


def parse(arguments):
    parser = argparse.ArgumentParser(
        prog="perf/peers/run", description="Measures Tutti and its peers in turns, with the same loop and buffers, against the "
                                "machine's limits in the same run.")
    parser.add_argument("--peers", type=_names(PEERS), default=["tutti", "openmpi", "mpich", "gloo"], metavar="NAMES",
                        help=", ".join(PEERS) + "; default: Tutti and Debian's, each with one setting")
    parser.add_argument("--ranks", type=_ranks, default=[2, 4, 8], metavar="LIST")
    parser.add_argument("--sizes", type=_sizes, default=_sizes("8,1K,64K,1M,16M,128M"), metavar="LIST")
    parser.add_argument("--transport", type=_names(TRANSPORTS), default=["shm", "lo"], metavar="NAMES",
                        help="shm: shared memory; lo: TCP over the loopback; lab2, lab4: two or four hosts of perf/lab, "
                             "a rank on each, 1 Gbit/s (needs root)")
    parser.add_argument("--collectives", type=_names(COLLECTIVES), default=list(COLLECTIVES), metavar="NAMES",
                        help=", ".join(COLLECTIVES))
    parser.add_argument("--repetitions", type=_whole(1, 1000), default=5, metavar="N")
    parser.add_argument("--seconds", type=_seconds, default=0.05, help="of one batch (default 0.05)")
    parser.add_argument("--limit", type=_seconds, help="seconds after which a peer is ended; by the amount of work")
    parser.add_argument("--busy", action="store_true", help="something else keeps every core loaded meanwhile")
    parser.add_argument("--quick", action="store_true", help="short batches and limits: a trial, no figures to keep")
    parser.add_argument("--json", metavar="FILE", help="every figure")
    parser.add_argument("--plot", type=_picture, metavar="FILE", help="draw time and bus bandwidth over the number of ranks, as "
                        "FILE.svg or FILE.png")
    parser.add_argument("--from", dest="recorded", type=pathlib.Path, metavar="FILE", help="measure nothing: draw what --json "
                        "has written; with --plot")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "release", metavar="FOLDER",
                        help="where libtutti.so and tutti-limits are built (default build/release)")
    parser.add_argument("--no-install", action="store_true", help="do not install packages that are missing")
    options = parser.parse_args(arguments)
    if options.recorded and not options.plot:
        parser.error("--from needs --plot, the picture to draw")
    options.build = options.build.resolve()
    if options.quick:
        options.seconds = min(options.seconds, 0.01)
    if options.limit is None:
        options.limit = 20 + 3 * len(options.sizes) * len(options.collectives)
    return options
