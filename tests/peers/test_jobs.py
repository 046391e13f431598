"""perf/peers' processes, the loop with Tutti, and the loop with a peer that lies or hangs."""
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from unittest import mock

import peers_paths
from comparison import figures, launch, processes

ALL = ["all_reduce", "reduce_scatter", "all_gather", "all_to_all", "broadcast"]
HOST = peers_paths.ROOT / "perf" / "peers" / "host"


def is_alive(process_id):
    """Not counting the dead whose parent has not asked yet."""
    try:
        return pathlib.Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Job(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="tutti-peers-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.log = tempfile.TemporaryFile()
        self.addCleanup(self.log.close)

    def run_shell(self, *scripts, limit_s=20):
        return processes.run([(["sh", "-c", script], dict(os.environ)) for script in scripts], limit_s, self.log)

    def test_ends_well(self):
        ended = self.run_shell("exit 0", "sleep 0.05")
        self.assertEqual(ended.trouble, "")
        self.assertLess(ended.started_s, time.monotonic())

    def test_one_that_ends_badly_ends_the_others_and_is_quoted(self):
        begin = time.monotonic()
        ended = self.run_shell("echo why >&2; exit 3", "sleep 60")
        self.assertEqual(ended.trouble, "exit status 3: why")
        self.assertLess(time.monotonic() - begin, 30)
        self.assertEqual(self.run_shell("kill -KILL $$").trouble.partition(":")[0], "ended by signal 9")

    @mock.patch.object(processes, "_GRACE_S", 0.2)
    def test_ends_at_its_limit_with_all_that_it_has_started(self):
        children = self.folder / "children"
        ended = self.run_shell(f"sleep 60 & echo $! > {children}; trap '' TERM; wait", limit_s=0.3)
        self.assertEqual(ended.trouble, "did not finish in 0.3 s; ended")
        self.assertFalse(is_alive(int(children.read_text())))

    def test_a_program_that_is_not_there_is_named(self):
        ended = processes.run([(["/nonexistent/program"], {})], 5, self.log)
        self.assertIn("could not be started: ", ended.trouble)
        self.assertIn("/nonexistent/program", ended.trouble)

    def test_a_load_ends_when_it_is_left(self):
        with processes.Load(1) as load:
            process = load.processes[0]
            self.assertIsNone(process.poll())
        self.assertEqual(process.returncode, -signal.SIGTERM)

    def bench(self, name, collectives, sizes="8,1000", limit_s=60):
        output = self.folder / "lines"
        command = [os.environ[name], "--output", str(output), "--sizes", sizes, "--collectives", ",".join(collectives),
                   "--seconds", "0.001", "--limit", str(limit_s)]
        return command, output

    @unittest.skipUnless("PEERS_TUTTI_BENCH" in os.environ, "PEERS_TUTTI_BENCH does not name the program; ctest does")
    def test_tutti_is_measured_and_right_by_every_way(self):
        for transport in ("shm", "lo"):
            meeting = self.folder / transport
            meeting.mkdir()
            command, output = self.bench("PEERS_TUTTI_BENCH", ALL)
            jobs = launch.jobs("tutti", command, 3, transport, meeting, self.folder, 60, self.folder)
            ended = processes.run(jobs, 90, self.log)
            self.assertEqual(ended.trouble, "")
            found = figures.Figures()
            found.add(transport, 3, "tutti", ended.started_s, figures.read_lines(output), ended.other_load)
            self.assertEqual(found.wrong(), 0)
            self.assertEqual([key[3:] for key in found.operations], [(one, size) for one in ALL for size in (8, 1000)])
            self.assertTrue(all(row["us"][0] > 0 for row in found.operations.values()))
            self.assertGreater(found.starts[(transport, 3, "tutti")]["start_up_s"][0], 0)

    @unittest.skipUnless("PEERS_IDLE_BENCH" in os.environ, "PEERS_IDLE_BENCH does not name the program; ctest does")
    def test_a_peer_that_does_nothing_is_found_out(self):
        command, output = self.bench("PEERS_IDLE_BENCH", ["all_reduce", "all_gather"], sizes="4000")
        self.assertEqual(processes.run([(command, dict(os.environ))], 60, self.log).trouble, "")
        start, all_reduce, all_gather = figures.read_lines(output)
        self.assertEqual(start["wrong"], 1)
        self.assertEqual(all_reduce["wrong"], 1000)
        self.assertEqual(all_gather, {"collective": "all_gather", "bytes": 4000, "missing": "not in the library"})

    @unittest.skipUnless("PEERS_IDLE_BENCH" in os.environ, "PEERS_IDLE_BENCH does not name the program; ctest does")
    def test_a_rank_ends_itself_after_its_limit(self):
        command, _ = self.bench("PEERS_IDLE_BENCH", ["all_reduce"], limit_s=1)
        ended = processes.run([(command, {**os.environ, "PEER_STUCK": "1"})], 60, self.log)
        self.assertEqual(ended.trouble, f"ended by signal {signal.SIGALRM}")

    def serve(self, rank, address, *launcher):
        environment = {**os.environ, "PEER_HOSTS": str(self.folder), "TUTTI_RANK": str(rank), "TUTTI_SIZE": "2"}
        return [sys.executable, "-B", str(HOST), "--serve", address, *launcher], environment

    def test_a_launcher_starts_commands_on_other_hosts(self):
        out = self.folder / "out"
        script = f"echo $0 $1 >{out}; {HOST} -x 10.0.0.2 echo 'there $TUTTI_RANK' '>>' {out}"
        first = self.serve(0, "10.0.0.1", "sh", "-c", script, "HOSTS", "OWN")
        self.assertEqual(processes.run([first, self.serve(1, "10.0.0.2")], 30, self.log).trouble, "")
        self.assertEqual(out.read_text(), "10.0.0.1,10.0.0.2 10.0.0.1\nthere 1\n")

    def test_a_launcher_hears_how_a_command_ended(self):
        first = self.serve(0, "10.0.0.1", "sh", "-c", f"{HOST} 10.0.0.2 exit 5")
        self.assertEqual(processes.run([first, self.serve(1, "10.0.0.2")], 30, self.log).trouble, "exit status 5")

    def test_a_command_ends_when_who_asked_has_gone(self):
        command, environment = self.serve(1, "10.0.0.2")
        server = subprocess.Popen(command, env=environment)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        while not (self.folder / "10.0.0.2.host").exists():
            self.assertIsNone(server.poll())
            time.sleep(0.01)
        child = self.folder / "child"
        with socket.socket(socket.AF_UNIX) as asks:
            asks.connect(str(self.folder / "10.0.0.2.socket"))
            asks.sendall((json.dumps(f"echo $$ > {child}.new; mv {child}.new {child}; exec sleep 60") + "\n").encode())
            while not child.exists():
                self.assertIsNone(server.poll())
                time.sleep(0.01)
        self.assertEqual(server.wait(timeout=30), 0)
        self.assertFalse(is_alive(int(child.read_text())))


if __name__ == "__main__":
    unittest.main()
