"""Peers that come as wheels: each is installed into a virtual environment of its own beside its program, with exactly the
versions below and nothing that they would like to have besides. Only who asks for such a peer by name gets it."""

import re
import subprocess
import sys

from comparison.errors import Trouble

WHEELS = {
    "mpich5": ("mpich==5.0.2",),
    # The static library for CPUs, the MPI that carries it, and the run-time library of the compiler that made both.
    "oneccl": ("oneccl-devel==2022.2.0", "impi-rt==2021.19.0", "impi-devel==2021.19.0", "intel-cmplr-lib-rt==2026.2.0"),
}


def environment_of(peer, build):
    return build / "peers" / f"{peer}-environment"


def launcher_of(peer, build):
    return environment_of(peer, build) / "bin" / {"mpich5": "mpiexec", "oneccl": "mpiexec.hydra"}[peer]


def marker_of(peer, build):
    """The file that says what was installed, written last."""
    return environment_of(peer, build) / "wheels"


def is_installed(peer, build):
    marker = marker_of(peer, build)
    return marker.exists() and marker.read_text(encoding="utf-8").split() == list(WHEELS[peer])


def _why(output, peer):
    """What pip means, in a few words."""
    if "connection broken by" in output or "Could not fetch URL" in output:
        return "it reached no package index"
    if missing := re.search(r"No matching distribution found for (\S+)", output):
        return f"its index has no wheel of {missing[1]} for this machine"
    lines = output.strip().splitlines() or [f"it said nothing about {peer}"]
    return lines[-1].strip().removeprefix("ERROR: ")


def _run(command, peer, what):
    done = subprocess.run([str(one) for one in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        raise Trouble(f"{peer} cannot be installed, for {what} ended with status {done.returncode}: "
                      f"{_why(done.stdout.decode(errors='replace'), peer)}; leave {peer} out of --peers, or put that right "
                      "and start again.")


def install(peer, build, may_install=True):
    """Makes the peer's environment unless it is there."""
    if is_installed(peer, build):
        return
    if not may_install:
        raise Trouble(f"{peer} is not installed in {environment_of(peer, build)}, and --no-install forbids "
                      f"installing it; leave {peer} out of --peers, or --no-install out.")
    folder = environment_of(peer, build)
    print(f"Installing by pip: {' '.join(WHEELS[peer])}", file=sys.stderr, flush=True)
    _run([sys.executable, "-m", "venv", "--clear", folder], peer, "python3 -m venv")
    _run([folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input",
          "--retries", "2", "--no-deps", "--only-binary", ":all:", *WHEELS[peer]], peer, "pip")
    marker_of(peer, build).write_text("\n".join(WHEELS[peer]) + "\n", encoding="utf-8")
