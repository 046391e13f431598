"""The command line: measure and append a record, or compare."""

import argparse
import json
import pathlib
import signal
import subprocess
import sys
import tempfile

from comparison.errors import Trouble
from recording import comparison, records
from recording.repository import Repository

ROOT = pathlib.Path(__file__).resolve().parents[2]
_SIZES = "8,1K,64K,1M,16M"
_REPETITIONS = "7"
_LIMIT_S = 600


def _parse(arguments):
    parser = argparse.ArgumentParser(
        prog="perf/record", description="Measures Tutti against the machine's limits (about 90 seconds; let nothing else "
                                        "run) and appends a line to the record; or says what moved since a commit.")
    parser.add_argument("--compare", nargs="?", const="", metavar="COMMIT",
                        help="measure nothing; hold this machine's newest measurement against that of COMMIT, or against "
                             "the one before")
    parser.add_argument("--all", action="store_true", help="with --compare: also what stayed within the noise")
    parser.add_argument("--file", type=pathlib.Path, default=ROOT / "perf" / "record.jsonl", metavar="FILE",
                        help="the record (default perf/record.jsonl)")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "release", metavar="FOLDER",
                        help="where libtutti.so and tutti-limits are built (default build/release)")
    parser.add_argument("--quick", action="store_true", help="a trial that takes seconds; needs --file, for it is not to keep")
    options = parser.parse_args(arguments)
    if options.quick and options.file == parser.get_default("file"):
        parser.error("--quick gives figures that are not to keep; name another --file for them")
    if options.all and options.compare is None:
        parser.error("--all goes with --compare")
    return options


def _measure(options):
    """What perf/peers/run writes for Tutti alone."""
    with tempfile.TemporaryDirectory(prefix="tutti-record-") as folder:
        output = pathlib.Path(folder) / "measured.json"
        command = [sys.executable, str(ROOT / "perf" / "peers" / "run"), "--no-install", "--peers", "tutti", "--transport",
                   "shm,lo", "--ranks", "2,4", "--build", str(options.build.resolve()), "--json", str(output)]
        command += ["--quick", "--repetitions", "2", "--sizes", "8,64K"] if options.quick else \
            ["--repetitions", _REPETITIONS, "--sizes", _SIZES]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            table, _ = process.communicate(timeout=_LIMIT_S)
        except subprocess.TimeoutExpired:
            raise Trouble(f"perf/peers/run did not finish within {_LIMIT_S} s; nothing was recorded.") from None
        finally:
            process.terminate()  # ends what it has started; does nothing if it has ended
            process.communicate()
        if process.returncode != 0:
            lines = table.strip().splitlines()
            raise Trouble(f"perf/peers/run ended with status {process.returncode}; nothing was recorded." +
                          (f" It said last: {lines[-1]}" if lines else ""))
        return json.loads(output.read_text(encoding="utf-8"))


def _record(options, repository):
    commit, dirty = repository.commit(), repository.is_dirty()
    record = records.record_of(_measure(options), commit, dirty)
    if repository.commit() != commit or repository.is_dirty() != dirty:
        raise Trouble("The tree changed while it was measured, so that the figures belong to no commit; nothing was "
                      "recorded. Run perf/record again.")
    records.append(options.file, record)
    print(f"{options.file}: {len(record['figures'])} figures of {commit[:10]}")
    if dirty:
        print("Tracked files differ from the commit: recorded as dirty.")
    if record["other_load"] > comparison.BUSY_CORES:
        print(f"Something else kept {record['other_load']:.2f} cores busy: the figures are noisy.")
    return 0


def _compare(options, repository):
    commit = repository.commit(options.compare) if options.compare else None
    old, new = comparison.choose(records.read(options.file), records.this_machine(), commit, options.compare)
    subjects = [repository.subject(side[-1]["commit"]) for side in (old, new)]
    print(comparison.text(old, new, subjects, options.all), end="")
    return 0


def main(arguments):
    options = _parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    try:
        repository = Repository(ROOT, "perf/record.jsonl")
        return _record(options, repository) if options.compare is None else _compare(options, repository)
    except (Trouble, OSError) as error:
        print(f"perf/record: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("perf/record: interrupted; nothing was recorded", file=sys.stderr)
        return 130
    return 1
