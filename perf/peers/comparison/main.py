"""Runs the sweep: for each transport and number of ranks the peers take turns, once in each repetition."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

from comparison import launch, plot, processes, programs, wheels
from comparison.errors import Trouble
from comparison.figures import Figures, bounds_by_key, link_bounds, read_lines, spread, table, to_json
from comparison.options import LAB_HOSTS, ROOT, library_of, parse

_LIMITS_S = 300
_LINK_LIMIT_S = 40
_FAILURES_MAX = 2  # jobs that do not come to their end before a peer is given up
_SHARED_MEMORY = "/dev/shm"


def measure_limits(options):
    """What tutti-limits writes, before anything else runs."""
    ranks = sorted({count for transport in options.transport for count in launch.ranks_of(transport, options.ranks)})
    command = [str(options.build / "bin" / "tutti-limits"), "--json", "-", "--ranks", ",".join(map(str, ranks)),
               "--sizes", ",".join(map(str, options.sizes))] + (["--quick"] if options.quick else [])
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, timeout=_LIMITS_S, check=True)
        return json.loads(done.stdout)
    except (subprocess.SubprocessError, ValueError) as error:
        raise Trouble(f"the machine's limits could not be measured: {error}") from None


def measure_links(options, limits):
    """The rate of each lab's link by iperf3, from one host to another: GB/s by transport, also put into `limits`."""
    rates = {}
    for transport in options.transport:
        if transport not in LAB_HOSTS:
            continue
        with tempfile.TemporaryDirectory(prefix="tutti-peers-") as folder, tempfile.TemporaryFile() as log:
            output = pathlib.Path(folder) / "rate"
            command = launch.lab_command(transport, _LINK_LIMIT_S, [sys.executable, str(ROOT / "perf" / "peers" / "link"),
                                                                    "{rank}", folder, "1" if options.quick else "3"])
            ended = processes.run([(command, dict(os.environ))], _LINK_LIMIT_S + 5, log)
            if ended.trouble:
                raise Trouble(f"the link of {transport} could not be measured: {ended.trouble}")
            rates[transport] = json.loads(output.read_text(encoding="utf-8"))
    limits["lab_link_gbps"] = {transport: spread(values) for transport, values in rates.items()}
    return {transport: max(values) for transport, values in rates.items()}


def all_bounds(options, limits, combinations):
    bounds = bounds_by_key(limits)
    for transport, rate_gbps in measure_links(options, limits).items():
        for ranks in (count for way, count in combinations if way == transport):
            bounds.update(link_bounds(rate_gbps, options.collectives, transport, ranks, options.sizes))
    return bounds


def run_once(options, figures, programs_by_peer, peer, ranks, transport):
    """One job of one peer; whether it came to its end."""
    with (tempfile.TemporaryDirectory(prefix="tutti-peers-") as folder, tempfile.TemporaryFile() as log,
          tempfile.TemporaryDirectory(prefix="tutti-peers-", dir=_SHARED_MEMORY) as scratch):
        meeting = pathlib.Path(folder) / "meet"
        meeting.mkdir()
        output = pathlib.Path(folder) / "lines"
        arguments = ["--output", str(output), "--sizes", ",".join(map(str, options.sizes)), "--collectives",
                     ",".join(options.collectives), "--seconds", f"{options.seconds:g}", "--limit",
                     str(int(options.limit) + 5)]
        command = [str(programs_by_peer[peer]), *arguments]
        jobs = launch.jobs(peer, command, ranks, transport, meeting, scratch, options.limit, options.build)
        ended = processes.run(jobs, options.limit + (5 if transport in LAB_HOSTS else 0), log)
        figures.add(transport, ranks, peer, None if transport in LAB_HOSTS else ended.started_s, read_lines(output),
                    ended.other_load)
        if ended.trouble:
            figures.troubles[(transport, ranks, peer)] = ended.trouble
        return not ended.trouble


def sweep(options, figures, programs_by_peer, combinations, keep):
    """`keep()` is called whenever a combination is done."""
    for number, (transport, ranks) in enumerate(combinations, 1):
        begin = time.monotonic()
        for peer in options.peers:
            if note := launch.note_on(peer, transport):
                figures.notes[(transport, ranks, peer)] = note
        failures = {peer: 0 for peer in options.peers if launch.can_use(peer, transport)}
        for repetition in range(options.repetitions):
            for peer in [one for one in failures if failures[one] < _FAILURES_MAX]:
                say_for_now(f"{transport}, {ranks} ranks, {repetition + 1} of {options.repetitions}: {peer}")
                failures[peer] += not run_once(options, figures, programs_by_peer, peer, ranks, transport)
        say_for_now("")
        print(f"{number} of {len(combinations)}: {transport}, {ranks} ranks took {time.monotonic() - begin:.0f} s",
              file=sys.stderr, flush=True)
        keep()


def say_for_now(text):
    """On a terminal, until the next line comes."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def versions_of(peers):
    """What is installed, by the names of Debian, of wheels, or of a commit."""
    packages = {"openmpi": "openmpi-bin", "mpich": "mpich", "gloo": "libgloo-dev"}
    versions = {}
    for peer in dict.fromkeys(library_of(one) for one in peers):
        if peer in wheels.WHEELS:
            versions[peer] = " ".join(wheels.WHEELS[peer])
            continue
        command = ["dpkg-query", "-W", "-f", "${Version}", packages[peer]] if peer in packages else \
            ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
        try:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
            versions[peer] = done.stdout.decode().strip() or "not known"
        except FileNotFoundError:
            versions[peer] = "not known"
    return versions


def write_json(path, document):
    """In one step: whoever reads it finds all that was measured until now, or what was before."""
    new = pathlib.Path(f"{path}.new")
    new.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    new.replace(path)


def prepare(options):
    """Installs and compiles what is asked for: the program of each peer, and the Python that draws, if it is wanted."""
    may_install = not options.no_install
    if may_install:
        programs.install(options.peers)
    for peer in (one for one in options.peers if one in wheels.WHEELS):
        wheels.install(peer, options.build, may_install)
    python = plot.find_python(may_install) if options.plot else None
    programs.build_tutti(options.build)
    return {peer: programs.build_peer(peer, options.build) for peer in options.peers}, python


def compare(options):
    programs_by_peer, python = prepare(options)
    combinations = [(transport, ranks) for transport in options.transport
                    for ranks in launch.ranks_of(transport, options.ranks)]
    about = {"date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "versions": versions_of(options.peers)}
    say_for_now("the machine's limits")
    limits = measure_limits(options)
    bounds = all_bounds(options, limits, combinations)
    figures = Figures()

    def keep():
        document = to_json(figures, bounds, options, limits, about)
        if options.json:
            write_json(options.json, document)
        return document

    interrupted = False
    with processes.Load(launch.cores() if options.busy else 0):
        try:
            sweep(options, figures, programs_by_peer, combinations, keep)
        except KeyboardInterrupt:
            interrupted = True
    document = keep()
    print(table(figures, bounds, options, combinations), end="")
    if options.plot:
        plot.draw(document, options.plot, python)
    if interrupted:
        raise KeyboardInterrupt
    return 1 if figures.wrong() or any(key[2].startswith("tutti") for key in figures.troubles) else 0


def draw_recorded(options):
    document = plot.read(options.recorded)
    plot.draw(document, options.plot, plot.find_python(not options.no_install))
    return 0


def main(arguments):
    options = parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    try:
        return draw_recorded(options) if options.recorded else compare(options)
    except Trouble as error:
        print(f"perf/peers/run: {error}", file=sys.stderr)
    except OSError as error:
        print(f"perf/peers/run: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("perf/peers/run: interrupted; everything that it started has been ended, and the figures until then are kept",
              file=sys.stderr)
        return 130
    return 1
