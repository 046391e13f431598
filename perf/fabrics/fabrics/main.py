"""The command line and the processes: rounds of benchmark_fabrics and of the tools, in turns."""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

from comparison.errors import Trouble
from fabrics import report as reports
from fabrics import tools

ROOT = pathlib.Path(__file__).resolve().parents[3]
SKIPPED = 77
_PORT_FIRST = 18600
_LIMIT_S = 120  # of one tool


def _parse(arguments):
    parser = argparse.ArgumentParser(
        prog="perf/fabrics/run", description="Tutti's transports for fabrics beside the fabrics' own tools, in turns. Let "
                                             "nothing else run.")
    parser.add_argument("targets", nargs="*", default=None, metavar="TARGET",
                        help="verbs, ucx, ofi:PROVIDER (default: verbs ucx ofi:tcp ofi:shm)")
    parser.add_argument("--rounds", type=int, default=5, help="(5)")
    parser.add_argument("--seconds", type=float, default=0.5, help="of each figure (0.5)")
    parser.add_argument("--sizes", default="65536,1048576,4194304", help="of large messages (65536,1048576,4194304)")
    parser.add_argument("--devices", default="rxe0,rxe1", help="of verbs: of the one process and of the other (rxe0,rxe1)")
    parser.add_argument("--gid-index", type=int, default=1, help="of verbs, for both (1)")
    parser.add_argument("--ucx-tls", default="tcp", help="UCX's transports, for both (tcp)")
    parser.add_argument("--json", metavar="FILE", help="also as JSON; - writes that to standard output instead of the table")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "release", metavar="FOLDER")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a bar is missed")
    options = parser.parse_args(arguments)
    options.targets = options.targets or ["verbs", "ucx", "ofi:tcp", "ofi:shm"]
    options.sizes = [int(size) for size in options.sizes.split(",")]
    return options


def _listens(port):
    """Whether some process of this host waits for connections there."""
    for name in ("tcp", "tcp6"):
        with open(f"/proc/net/{name}", encoding="ascii") as file:
            for line in list(file)[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    return True
    return False


class Tools:
    """Starts tools, each time on another port."""

    def __init__(self):
        self._port = _PORT_FIRST

    def run(self, target, figure, count):
        """(the client's output, the processor seconds of both)."""
        self._port += 1
        server_words, client_words = tools.command(target, figure, count, self._port)
        if shutil.which(server_words[0]) is None:
            raise Trouble(f"{server_words[0]} is not installed (scripts/packages, group fabrics)")
        environment = {**os.environ, **target.environment}
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        before = os.times()
        with subprocess.Popen(server_words, env=environment, **quiet) as server:
            try:
                limit = time.monotonic() + _LIMIT_S
                while not _listens(self._port):
                    if server.poll() is not None or time.monotonic() > limit:
                        server.kill()
                        last = server.stderr.read().strip().splitlines()[-1:]
                        raise Trouble(f"{' '.join(server_words)} does not start: {''.join(last)}")
                    time.sleep(0.01)
                client = subprocess.run(client_words, env=environment, stdin=subprocess.DEVNULL, capture_output=True,
                                        text=True, timeout=_LIMIT_S, check=False)
                server.wait(_LIMIT_S)
            except subprocess.TimeoutExpired:
                raise Trouble(f"{' '.join(client_words)} takes more than {_LIMIT_S} s") from None
            finally:
                server.kill()
        if client.returncode != 0:
            last = (client.stderr.strip() or client.stdout.strip()).splitlines()[-1:]
            raise Trouble(f"{' '.join(client_words)} ended with {client.returncode}: {''.join(last)}")
        after = os.times()
        return client.stdout, sum(after[2:4]) - sum(before[2:4])

    def measure(self, target, figure, count):
        if figure.name != "cpu":
            text, _ = self.run(target, figure, count)
            value = tools.read(figure, text)
            if value is None:
                raise Trouble(f"{figure.tool} says nothing of its {figure.name}: {text[-200:]}")
            return value
        # What starting costs is in both.
        few = max(16, count // 8)
        _, much = self.run(target, figure, few + count)
        _, little = self.run(target, figure, few)
        return max(0.0, much - little) / (1e-9 * count * figure.bytes)


def _run_ours(options, name, words, environment):
    """What a program of ours prints."""
    program = options.build / "bin" / name
    if not program.exists():
        raise Trouble(f"{program} is not there: cmake --preset release && cmake --build --preset release")
    done = subprocess.run([str(program), *words], env={**os.environ, **environment}, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=600, check=False)
    if done.returncode != 0:
        raise Trouble(f"{name} {' '.join(words)}: {''.join(done.stderr.strip().splitlines()[-1:])}")
    return done.stdout


def _measure_ours(options, target):
    words = [*target.words, "--seconds", str(options.seconds), "--sizes", ",".join(map(str, options.sizes))]
    return tools.read_ours(_run_ours(options, "benchmark_fabrics", words, target.environment))


def _measure(options, report, target, started):
    ours = _measure_ours(options, target)
    report.add_memory(target.name, ours)
    for figure in tools.figures(target, options.sizes):
        if figure.name == "all_reduce":
            count = tools.messages(figure, ours[f"both_ways_{figure.bytes}_MBps"] / 2, options.seconds)
            text = _run_ours(options, "tutti-perf", tools.tutti_perf(figure.bytes, count),
                             {**target.environment, **target.settings})
            report.add(target.name, figure, *tools.read_tutti_perf(text))
            continue
        own = ours[figure.ours]
        theirs = None
        if figure.tool:
            theirs = started.measure(target, figure, tools.messages(figure, own, options.seconds))
        report.add(target.name, figure, own, theirs)


def _in_guest(options):
    """The figures of verbs, taken in a virtual machine with an RDMA NIC in software; ratios alone mean anything."""
    words = [str(ROOT / "perf/lab/vm/vm"), "--quiet", "--processors", "4", "--time-limit", "590", "--", "perf/fabrics/run", "verbs", "--json", "-",
             "--rounds", str(options.rounds), "--seconds", str(options.seconds), "--sizes", ",".join(map(str, options.sizes)),
             "--build", str(options.build)]
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        return {"rows": [], "memory": {}, "troubles": [f"verbs: no figures from the virtual machine: {done.stdout[-300:]}"]}
    return json.loads(done.stdout[done.stdout.index("{"):])


def main(arguments):
    options = _parse(arguments)
    try:
        all_targets = tools.targets(options.targets, options.devices.split(","), options.gid_index, options.ucx_tls)
    except Trouble as trouble:
        print(f"perf/fabrics/run: {trouble}", file=sys.stderr)
        return 2
    needs_guest = any(target.name == "verbs" for target in all_targets) and not list(
        pathlib.Path("/sys/class/infiniband").glob("*"))
    report, started = reports.Report(), Tools()
    result = _in_guest(options) if needs_guest else {"rows": [], "memory": {}, "troubles": []}
    for target in all_targets:
        if needs_guest and target.name == "verbs":
            continue
        for _ in range(options.rounds):
            try:
                _measure(options, report, target, started)
            except (Trouble, OSError, KeyError) as trouble:
                report.troubles.append(f"{target.name}: {trouble}")
                break
    for key, more in report.json().items():
        result[key] = {**result[key], **more} if key == "memory" else result[key] + more
    if options.json and options.json != "-":
        pathlib.Path(options.json).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result) if options.json == "-" else reports.table(result))
    if result["troubles"]:
        return 1
    return 1 if options.check and any(row["meets"] is False for row in result["rows"]) else 0
