"""What the tests of the lab share: where it is, how it is run, and whether this machine can run it."""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parents[2]
LAB = ROOT / "perf/lab/lab"
TOPOLOGIES = ROOT / "perf/lab/topologies"
ON_HOST = [sys.executable, "-B", str(pathlib.Path(__file__).with_name("on_host.py"))]
SKIPPED = 77
sys.path.insert(0, str(LAB.parent))

# Without the lab, so that a lab that does not work is no reason to skip its tests.
MACHINE_NEEDS = """
ip link add name nic0 type veth peer name nic1
ip link add name bridge type bridge
tc qdisc add dev nic0 root tbf rate 8mbit burst 5k limit 50k
tc qdisc add dev nic0 clsact
"""
TWO_HOSTS = """
hosts: [h1, h2]
links:
  - {between: [h1, h2]}
"""
LEAVES = """
hosts: [h1, h2]
switches: {leaf1: router, leaf2: router, spine1: router, spine2: router}
links:
  - {between: [h1, leaf1]}
  - {between: [h2, leaf2]}
  - {between: [leaf1, spine1]}
  - {between: [leaf1, spine2]}
  - {between: [leaf2, spine1]}
  - {between: [leaf2, spine2]}
"""


def lab_command(*arguments):
    return [sys.executable, str(LAB), *map(str, arguments)]


def why_not():
    """Why no lab can run here; None where one can."""
    try:
        import yaml  # noqa: F401
    except ImportError:
        return "python3 has no module yaml (apt install python3-yaml)"
    if os.environ.get("LAB_TEST_PURE"):
        return None
    try:
        done = subprocess.run(["unshare", "--net", "--mount", "sh", "-ec", MACHINE_NEEDS], capture_output=True,
                              text=True, check=False)
    except OSError as error:
        return f"unshare: {error.strerror} ({error.errno})"
    return None if done.returncode == 0 else f"no network namespace as the lab needs it: {done.stderr.strip()}"


class TopologyFile:
    """A context: the text as a file, by its path."""

    def __init__(self, text):
        self.text = text

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        path = pathlib.Path(self.folder.name) / "topology.yaml"
        path.write_text(self.text, encoding="utf-8")
        return str(path)

    def __exit__(self, *_):
        self.folder.cleanup()


def run_lab(text, command, *options):
    """The finished `lab run`. Whatever hangs is ended by the lab after 30 s."""
    with TopologyFile(text) as path:
        return subprocess.run(lab_command("run", path, "--time-limit", "30s", *options, "--", *command),
                              capture_output=True, text=True, check=False)


def main(needs_namespaces):
    if not needs_namespaces:
        os.environ["LAB_TEST_PURE"] = "1"
    reason = why_not()
    if reason:
        print(f"skipped: {reason}")
        sys.exit(SKIPPED)
    unittest.main(module="__main__", verbosity=2)
