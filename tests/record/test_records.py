"""What perf/record keeps of a measurement, how the file is read, and what git is asked."""
import contextlib
import io
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import record_paths
from recording import main, records
from comparison.errors import Trouble
from recording.repository import Repository

SPREAD = {"median": 20.0, "min": 19.0, "max": 23.0, "repetitions": 5}
MACHINE = {"cpu": "Model", "cores": 2, "memory_bytes": 2**34, "kernel": "Linux 6"}


def operation(**changes):
    return {"transport": "shm", "ranks": 2, "peer": "tutti", "collective": "all_reduce", "bytes": 65536, "us": SPREAD,
            "bound_us": 10.0, **changes}


def measured(*operations):
    start = {"transport": "lo", "ranks": 4, "peer": "tutti", "start_up_s": {"median": 0.02, "min": 0.01, "max": 0.03},
             "rss_kib": {"median": 9216, "min": 9216, "max": 9216}, "other_load": {"median": 0.25}}
    return {"date": "2026-01-02T03:04:05Z", "machine": MACHINE, "quick": False, "operations": list(operations),
            "starts": [start]}


class Figures(unittest.TestCase):
    def test_are_ratios_to_the_limit_with_their_range(self):
        figures = records.figures_of(measured(operation()))
        self.assertEqual(figures["all_reduce shm 2 ranks 64 KiB"], {"ratio": [2.0, 1.9, 2.3], "us": [20.0, 19.0, 23.0]})
        self.assertEqual(figures["start-up lo 4 ranks"], {"ms": [20.0, 10.0, 30.0]})
        self.assertEqual(figures["memory lo 4 ranks"], {"mib": [9.0, 9.0, 9.0]})

    def test_leave_out_peers_and_what_has_no_limit_or_no_time(self):
        figures = records.figures_of(measured(operation(peer="gloo"), operation(bytes=8, us=None),
                                              operation(bytes=16, bound_us=None)))
        self.assertEqual(sorted(figures), ["memory lo 4 ranks", "start-up lo 4 ranks"])


class File(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="tutti-record-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.path = self.folder / "record.jsonl"

    def test_gives_back_what_was_appended(self):
        one = records.record_of(measured(operation()), "a" * 40, dirty=True)
        two = records.record_of(measured(), "b" * 40, dirty=False)
        for record in (one, two):
            records.append(self.path, record)
        self.assertEqual(records.read(self.path), [one, two])
        self.assertEqual(len(self.path.read_text().splitlines()), 2)
        self.assertEqual((one["dirty"], one["other_load"], one["machine"]), (True, 0.25, MACHINE))

    def test_is_empty_before_the_first(self):
        self.assertEqual(records.read(self.path), [])

    def test_names_the_line_that_is_no_record(self):
        for line in ("{", "[]", "3", '{"format": 2}', '{"format": 1, "commit": "a"}'):
            records.append(self.path, records.record_of(measured(), "a" * 40, dirty=False))
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(line + "\n")
            with self.assertRaisesRegex(Trouble, r"record\.jsonl:2: is no record"):
                records.read(self.path)
            self.path.unlink()


@unittest.skipUnless(shutil.which("git"), "git is not installed")
class Git(unittest.TestCase):
    def setUp(self):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="tutti-record-"))
        self.addCleanup(shutil.rmtree, self.root)

    def git(self, *arguments):
        subprocess.run(["git", "-C", str(self.root), "-c", "user.name=A", "-c", "user.email=a@b", *arguments], check=True,
                       stdout=subprocess.DEVNULL)

    def repository(self):
        self.git("init", "-q")
        for name in ("source", "record.jsonl"):
            (self.root / name).write_text("1\n")
        self.git("add", ".")
        self.git("commit", "-q", "-m", "The first")
        return Repository(self.root, "record.jsonl")

    def test_a_folder_without_git_is_refused(self):
        with self.assertRaisesRegex(Trouble, "is not a git tree"):
            Repository(self.root, "record.jsonl")

    def test_a_commit_that_is_not_known_is_refused(self):
        with self.assertRaisesRegex(Trouble, "git knows no commit 'nothere'"):
            self.repository().commit("nothere")

    def test_names_the_commit(self):
        repository = self.repository()
        self.assertRegex(repository.commit(), r"^[0-9a-f]{40}$")
        self.assertEqual(repository.commit("HEAD~0"), repository.commit())
        self.assertEqual(repository.subject(repository.commit()), "The first")
        self.assertEqual(repository.subject("0" * 40), "")

    def test_a_changed_file_makes_the_tree_dirty_but_the_record_does_not(self):
        repository = self.repository()
        (self.root / "record.jsonl").write_text("2\n")
        (self.root / "not tracked").write_text("2\n")
        self.assertFalse(repository.is_dirty())
        (self.root / "source").write_text("2\n")
        self.assertTrue(repository.is_dirty())


class CommandLine(unittest.TestCase):
    def test_refuses_what_makes_no_sense(self):
        for arguments, why in ((["--quick"], "not to keep"), (["--all"], "--all goes with --compare")):
            with contextlib.redirect_stderr(io.StringIO()) as said, self.assertRaises(SystemExit) as caught:
                main.main(arguments)
            self.assertEqual(caught.exception.code, 2)
            self.assertIn(why, said.getvalue())

    def test_says_that_there_is_no_record_yet(self):
        if not shutil.which("git") or not (record_paths.ROOT / ".git").exists():
            self.skipTest("these sources are not a git tree, or git is not installed")
        with tempfile.TemporaryDirectory(prefix="tutti-record-") as folder, \
                contextlib.redirect_stderr(io.StringIO()) as said:
            self.assertEqual(main.main(["--compare", "--file", f"{folder}/record.jsonl"]), 1)
        self.assertIn("perf/record: There is no record of this machine", said.getvalue())


if __name__ == "__main__":
    unittest.main()
