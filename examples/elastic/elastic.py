#!/usr/bin/env python3
"""Trains a small neural network twice: undisturbed, and while its processes are killed and others join. The same
network comes out, to the last bit.

    examples/elastic/run [--processes 8] [--steps 1500] [--seed N] [--transports shm|tcp] [--no-plot]

`run` sets up what this needs (numpy, scikit-learn for the data, matplotlib, rich) and builds the library. README.md
says how it works. Exit status: 0 if everything is as it should be.
"""
import argparse
import pathlib
import statistics
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "digits"))
from digits import save_data  # noqa: E402
from display import display  # noqa: E402
from jobs import LEAST, MOST, Job  # noqa: E402
from tutti_ctypes import find_library  # noqa: E402

EVENTS_SEED = 5


def run_job(options, folder, name, seed):
    with display(name) as show:
        return Job(options, folder, name, seed, show).run()


def hashes(result):
    return sorted({end["hash"] for end in result.ends})


def verdict(calm, churned, options):
    """The lines to print, and what is not as it should be."""
    steps = range(1, options.steps + 1)
    missing = [step for step in steps if step not in calm.losses or step not in churned.losses]
    difference = max((abs(calm.losses[step] - churned.losses[step]) for step in steps if step not in missing),
                     default=float("inf"))
    left_over = calm.left_over + churned.left_over
    recoveries = [1000 * seconds for seconds in churned.recoveries_s]
    wrong = [what for what, is_wrong in [
        (f"steps without a loss: {missing[:5]}", missing),
        ("a model that differs", len(set(hashes(calm) + hashes(churned))) != 1),
        (f"losses that differ by up to {difference:.1e}", difference != 0),
        ("nobody was killed", churned.count("kill") == 0),
        ("nobody has joined", churned.joined == 0),
        ("a kill without a recovery", not recoveries),
        (f"left over: {', '.join(left_over[:5])}", left_over)] if is_wrong]
    rows = [("", "undisturbed", "disturbed"),
            ("members in the end", len(calm.ends), len(churned.ends)),
            ("final loss (mean of the last epoch)", f"{calm.final_loss():.7f}", f"{churned.final_loss():.7f}"),
            ("accuracy on 360 images not trained on", *(" ".join(sorted({f"{end['accuracy']:.2%}"
                                                                         for end in result.ends}))
                                                        for result in (calm, churned))),
            ("hash of the model, of all survivors", " ".join(hashes(calm)), " ".join(hashes(churned))),
            ("seconds", f"{calm.seconds:.1f}", f"{churned.seconds:.1f}")]
    lines = [f"{name:<40}{first:>18}{second:>18}" for name, first, second in rows]
    lines += ["", f"{churned.count('kill')} processes killed, {churned.count('leave')} left, {churned.joined} joined; "
                  f"{min(size for _, size in churned.sizes)} to {max(size for _, size in churned.sizes)} members"]
    if recoveries:
        lines.append(f"{len(recoveries)} recoveries: from the kill to the next step done, median "
                     f"{statistics.median(recoveries):.0f} ms, worst {max(recoveries):.0f} ms")
    lines += [f"largest difference of a loss: {difference:g}",
              f"left over: {len(left_over)} processes, open files and files in /dev/shm"]
    return lines, wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--processes", type=int, default=8, help="at first; 8 if not given")
    parser.add_argument("--steps", type=int, default=1500, help="of 96 images each; 1500 if not given")
    parser.add_argument("--seed", type=int, default=EVENTS_SEED, help="of what happens when")
    parser.add_argument("--transports", default="self,shm,tcp", help="as TUTTI_TRANSPORTS; all if not given")
    parser.add_argument("--no-plot", action="store_true")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("out"), help="folder of the pictures")
    parser.add_argument("--library", default=find_library(), help="libtutti.so")
    options = parser.parse_args()
    if not LEAST < options.processes <= MOST or options.steps < 100:
        parser.error(f"--processes is {LEAST + 1} to {MOST}, --steps at least 100")
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="tutti-elastic-") as name:
            folder = pathlib.Path(name)
            save_data(folder / "digits.npz")
            calm = run_job(options, folder, "undisturbed", None)
            churned = run_job(options, folder, "disturbed", options.seed)
    except RuntimeError as error:
        print(f"elastic.py: {error}", file=sys.stderr)
        return 1
    lines, wrong = verdict(calm, churned, options)
    print("\n" + "\n".join(lines))
    if not options.no_plot:
        from curves import draw

        for path in draw(calm, churned, options):
            print(f"picture: {path}")
    print(f"\n{'One network, whoever came and went.' if not wrong else 'NOT AS IT SHOULD BE: ' + '; '.join(wrong)} "
          f"({time.monotonic() - began:.1f} s)")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
