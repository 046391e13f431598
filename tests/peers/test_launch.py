"""How perf/peers starts each peer, and what its command line means."""
import argparse
import contextlib
import io
import os
import pathlib
import subprocess
import unittest
from unittest import mock

import peers_paths  # noqa: F401
from comparison import launch, options

FOLDER, SCRATCH = pathlib.Path("/meet"), "/scratch"


def jobs(peer, ranks=2, transport="shm", cores=2):
    with mock.patch.object(launch, "cores", lambda: cores):
        return launch.jobs(peer, ["program", "--sizes", "8"], ranks, transport, FOLDER, SCRATCH, 60)


def words(peer, **more):
    (command, environment), = jobs(peer, **more)
    return " ".join(command), environment


class Launch(unittest.TestCase):
    def run_three(self, script):
        (command, environment), = launch.jobs("tutti", ["sh", "-c", script], 3, "shm", FOLDER, SCRATCH, 60)
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    def test_ranks_without_a_launcher_share_a_session_and_a_secret(self):
        done = self.run_three('echo $TUTTI_RANK $TUTTI_SIZE $TUTTI_SECRET $(cut -d" " -f6 /proc/self/stat)')
        ranks = sorted(line.split() for line in done.stdout.splitlines())
        self.assertEqual([rank[:2] for rank in ranks], [["0", "3"], ["1", "3"], ["2", "3"]], done.stderr)
        self.assertEqual(len({tuple(rank[2:]) for rank in ranks}), 1)
        self.assertEqual(done.returncode, 0)

    def test_a_rank_that_ends_badly_is_the_jobs_end(self):
        self.assertEqual(self.run_three("[ $TUTTI_RANK = 1 ] && exit 7; true").returncode, 7)

    def test_tutti_is_kept_to_its_transport_and_memory(self):
        self.assertEqual([jobs(peer, transport=way)[0][1][key] for peer, way, key in (
            ("tutti", "shm", "TUTTI_TRANSPORTS"), ("tutti", "lo", "TUTTI_TRANSPORTS"), ("tutti", "lo", "TUTTI_PEER_MEMORY"),
            ("tutti-malloc", "lo", "TUTTI_PEER_MEMORY"))], ["shm", "tcp", "tutti", "malloc"])

    def test_openmpi_yields_where_ranks_outnumber_cores_or_it_is_asked_to(self):
        self.assertNotIn("mpi_yield_when_idle", words("openmpi")[0])
        self.assertIn("--bind-to core", words("openmpi")[0])
        for crowded in (words("openmpi", ranks=4), words("openmpi-yield"), words("openmpi", ranks=4, transport="lab4")):
            self.assertIn("mpi_yield_when_idle 1", crowded[0])
            self.assertIn("--bind-to none", crowded[0])

    def test_no_peer_uses_shared_memory_where_tcp_is_measured(self):
        self.assertIn("btl tcp,self", words("openmpi", transport="lo")[0])
        self.assertIn("btl vader,self", words("openmpi")[0])
        self.assertEqual(words("mpich", transport="lo")[1]["UCX_TLS"], "tcp,self")
        self.assertNotIn("UCX_TLS", words("mpich")[1])
        self.assertEqual(jobs("tutti", transport="lo")[0][1]["TUTTI_TRANSPORTS"], "tcp")

    def test_a_lab_starts_one_command_on_each_host(self):
        command, environment = words("tutti", transport="lab2")
        self.assertRegex(command, r"perf/lab/lab run \S+two_hosts_1g\.yaml --time-limit 60s -- program .* --address {address}$")
        self.assertEqual(environment["TUTTI_TRANSPORTS"], "tcp")
        command, _ = words("mpich", ranks=4, transport="lab4")
        self.assertRegex(command, r"four_hosts_1g.* perf/peers/host|/host --serve {address} mpiexec\.mpich -n 4 .*-hosts HOSTS")

    def test_what_the_caller_has_set_for_a_library_does_not_reach_it(self):
        with mock.patch.dict(os.environ, {"TUTTI_ALGORITHM": "ring", "OMPI_MCA_btl": "self", "UCX_TLS": "self", "KEPT": "1"}):
            for peer in options.PEERS:
                environment = jobs(peer)[0][1]
                self.assertEqual(environment["KEPT"], "1")
                self.assertFalse({"TUTTI_ALGORITHM", "OMPI_MCA_btl", "UCX_TLS"} & environment.keys())

    def test_a_lab_has_a_rank_on_each_host(self):
        self.assertEqual([launch.ranks_of(one, [2, 8]) for one in ("shm", "lab2", "lab4")], [[2, 8], [2], [4]])


class CommandLine(unittest.TestCase):
    def test_reads_lists_and_sizes(self):
        read = options.parse(["--sizes", "8,64K,1M", "--ranks", "2,16", "--peers", "tutti,gloo,tutti"])
        self.assertEqual((read.sizes, read.ranks, read.peers), ([8, 65536, 1048576], [2, 16], ["tutti", "gloo"]))
        self.assertGreater(read.limit, 0)

    def test_refuses_what_is_none(self):
        for arguments in (["--sizes", "0"], ["--sizes", "8X"], ["--ranks", "1"], ["--ranks", "two"], ["--peers", "nccl"],
                          ["--transport", "tcp"], ["--repetitions", "0"], ["--seconds", "-1"], ["--seconds", "nan"]):
            with contextlib.redirect_stderr(io.StringIO()) as said, self.assertRaises(SystemExit, msg=arguments) as caught:
                options.parse(arguments)
            self.assertEqual(caught.exception.code, 2)
            self.assertIn(f"'{arguments[1]}'", said.getvalue())

    def test_writes_sizes_as_it_reads_them(self):
        self.assertEqual([options.bytes_text(options.bytes_of(text)) for text in ("8", "1000", "64K", "1536", "128M", "2G")],
                         ["8 B", "1000 B", "64 KiB", "1536 B", "128 MiB", "2 GiB"])
        with self.assertRaises(argparse.ArgumentTypeError):
            options.bytes_of("64 K")


if __name__ == "__main__":
    unittest.main()
