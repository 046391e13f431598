"""How perf/peers installs peers that come as wheels, with a pip that only says what a real one would."""
import contextlib
import io
import pathlib
import tempfile
import unittest
from unittest import mock

import peers_paths  # noqa: F401
from comparison import wheels
from comparison.errors import Trouble

NO_INDEX = """WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError(...)': /simple/mpich/
ERROR: Could not find a version that satisfies the requirement mpich==5.0.2 (from versions: none)
ERROR: No matching distribution found for mpich==5.0.2
"""
NO_WHEEL = """ERROR: Could not find a version that satisfies the requirement mpich==5.0.2 (from versions: 3.4.3, 5.0.1)
ERROR: No matching distribution found for mpich==5.0.2
"""


class Wheels(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="tutti-peers-")
        self.addCleanup(folder.cleanup)
        self.build = pathlib.Path(folder.name)
        self.commands = []

    def pretend(self, status, output):
        """In place of subprocess.run: venv makes the folder, pip says `output` and ends with `status`."""
        def run(command, **_):
            self.commands.append(command)
            is_pip = "pip" in command
            if not is_pip:
                (pathlib.Path(command[-1]) / "bin").mkdir(parents=True)
            return mock.Mock(returncode=status if is_pip else 0, stdout=(output if is_pip else "").encode())
        return mock.patch.object(wheels.subprocess, "run", run)

    def install(self, status=0, output="", peer="mpich5", may_install=True):
        with self.pretend(status, output), contextlib.redirect_stderr(io.StringIO()):
            wheels.install(peer, self.build, may_install)

    def refusal(self, **how):
        with self.assertRaises(Trouble) as caught:
            self.install(**how)
        self.assertFalse(wheels.is_installed("mpich5", self.build))
        return str(caught.exception)

    def test_are_installed_once_under_the_build_folder_with_nothing_else(self):
        self.install()
        self.install()
        venv, pip = self.commands
        self.assertEqual(pathlib.Path(venv[-1]), self.build / "peers" / "mpich5-environment")
        self.assertTrue(pip[0].startswith(str(self.build)))
        self.assertIn("--no-deps", pip)
        self.assertEqual(pip[-1], "mpich==5.0.2")

    def test_other_versions_than_were_installed_are_installed_again(self):
        self.install()
        with mock.patch.dict(wheels.WHEELS, mpich5=("mpich==5.1.0",)):
            self.assertFalse(wheels.is_installed("mpich5", self.build))
        self.assertTrue(wheels.is_installed("mpich5", self.build))

    def test_without_an_index_one_sentence_says_so(self):
        said = self.refusal(status=1, output=NO_INDEX)
        self.assertEqual(said, "mpich5 cannot be installed, for pip ended with status 1: it reached no package index; leave "
                               "mpich5 out of --peers, or put that right and start again.")

    def test_a_wheel_that_is_missing_is_named(self):
        self.assertIn("its index has no wheel of mpich==5.0.2 for this machine", self.refusal(status=1, output=NO_WHEEL))

    def test_of_anything_else_the_last_line_is_quoted(self):
        said = self.refusal(status=2, output="Collecting mpich\nERROR: [Errno 28] No space left on device\n")
        self.assertIn("status 2: [Errno 28] No space left on device;", said)

    def test_nothing_is_installed_where_it_is_forbidden(self):
        self.assertIn("--no-install", self.refusal(may_install=False))
        self.assertEqual(self.commands, [])

    def test_versions_are_exact(self):
        for wanted in wheels.WHEELS.values():
            for one in wanted:
                self.assertRegex(one, r"^[a-z0-9-]+==[0-9][0-9.]*$")


if __name__ == "__main__":
    unittest.main()
