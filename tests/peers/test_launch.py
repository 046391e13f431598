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
from comparison import launch, options, wheels

FOLDER, SCRATCH, BUILD = pathlib.Path("/meet"), "/scratch", pathlib.Path("/build")


def jobs(peer, ranks=2, transport="shm", cores=2):
    with mock.patch.object(launch, "cores", lambda: cores):
        return launch.jobs(peer, ["program", "--sizes", "8"], ranks, transport, FOLDER, SCRATCH, 60, BUILD)


def words(peer, **more):
    (command, environment), = jobs(peer, **more)
    return " ".join(command), environment


class Launch(unittest.TestCase):
    def run_three(self, script):
        (command, environment), = launch.jobs("tutti", ["sh", "-c", script], 3, "shm", FOLDER, SCRATCH, 60, BUILD)
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

    def test_peers_from_wheels_have_their_own_launchers(self):
        self.assertRegex(words("mpich5")[0], r"^/build/peers/mpich5-environment/bin/mpiexec -n 2 -bind-to core program ")
        self.assertRegex(words("oneccl")[0], r"^/build/peers/oneccl-environment/bin/mpiexec\.hydra -n 2 program ")

    def test_peers_from_wheels_use_shared_memory_where_it_is_measured_and_libfabric_elsewhere(self):
        self.assertEqual(words("oneccl")[1]["I_MPI_FABRICS"], "shm")
        self.assertFalse({"MPIR_CVAR_NOLOCAL", "FI_PROVIDER"} & words("mpich5")[1].keys())
        for environment in (words("oneccl", transport="lo")[1], words("mpich5", transport="lo")[1]):
            self.assertEqual((environment["FI_PROVIDER"], environment["FI_TCP_IFACE"]), ("tcp", "lo"))
        self.assertEqual(words("oneccl", transport="lo")[1]["I_MPI_FABRICS"], "ofi")
        self.assertEqual(words("mpich5", transport="lo")[1]["MPIR_CVAR_NOLOCAL"], "1")

    def test_oneccl_yields_where_ranks_outnumber_cores(self):
        self.assertNotIn("CCL_YIELD", words("oneccl")[1])
        crowded = words("oneccl", ranks=3)[1]
        self.assertEqual([crowded[key] for key in ("CCL_YIELD", "CCL_SPIN_COUNT", "I_MPI_THREAD_YIELD", "I_MPI_PIN")],
                         ["sched_yield", "1", "2", "0"])

    def test_oneccl_is_left_out_of_labs_and_that_is_said(self):
        left_out = [(peer, way) for peer in options.PEERS for way in options.TRANSPORTS if not launch.can_use(peer, way)]
        self.assertEqual(left_out, [("oneccl", "lab2"), ("oneccl", "lab4")])
        self.assertIn("left out", launch.note_on("oneccl", "lab2"))
        self.assertEqual(launch.note_on("oneccl", "shm"), "")

    def test_a_lab_starts_one_command_on_each_host(self):
        command, environment = words("tutti", transport="lab2")
        self.assertRegex(command, r"perf/lab/lab run \S+two_hosts_1g\.yaml --time-limit 60s -- program .* --address {address}$")
        self.assertEqual(environment["TUTTI_TRANSPORTS"], "tcp")
        command, _ = words("mpich", ranks=4, transport="lab4")
        self.assertRegex(command, r"four_hosts_1g.* perf/peers/host|/host --serve {address} mpiexec\.mpich -n 4 .*-hosts HOSTS")

    def test_what_the_caller_has_set_for_a_library_does_not_reach_it(self):
        with mock.patch.dict(os.environ, {"TUTTI_ALGORITHM": "ring", "OMPI_MCA_btl": "self", "UCX_TLS": "self", "CCL_ALLREDUCE": "ring",
                                          "I_MPI_DEBUG": "5", "FI_TCP_IFACE": "eth0", "KEPT": "1"}):
            for peer in options.PEERS:
                environment = jobs(peer)[0][1]
                self.assertEqual(environment["KEPT"], "1")
                self.assertFalse({"TUTTI_ALGORITHM", "OMPI_MCA_btl", "UCX_TLS", "CCL_ALLREDUCE", "I_MPI_DEBUG",
                                  "FI_TCP_IFACE"} & environment.keys())

    def test_a_lab_has_a_rank_on_each_host(self):
        self.assertEqual([launch.ranks_of(one, [2, 8]) for one in ("shm", "lab2", "lab4")], [[2, 8], [2], [4]])


class CommandLine(unittest.TestCase):
    def test_reads_lists_and_sizes(self):
        read = options.parse(["--sizes", "8,64K,1M", "--ranks", "2,16", "--peers", "tutti,gloo,tutti"])
        self.assertEqual((read.sizes, read.ranks, read.peers), ([8, 65536, 1048576], [2, 16], ["tutti", "gloo"]))
        self.assertGreater(read.limit, 0)

    def test_refuses_what_is_none(self):
        for arguments in (["--sizes", "0"], ["--sizes", "8X"], ["--ranks", "1"], ["--ranks", "two"], ["--peers", "nccl"],
                          ["--transport", "tcp"], ["--repetitions", "0"], ["--seconds", "-1"], ["--seconds", "nan"],
                          ["--plot", "cost.jpeg"], ["--plot", "svg"]):
            with contextlib.redirect_stderr(io.StringIO()) as said, self.assertRaises(SystemExit, msg=arguments) as caught:
                options.parse(arguments)
            self.assertEqual(caught.exception.code, 2)
            self.assertIn(f"'{arguments[1]}'", said.getvalue())

    def test_a_picture_has_a_suffix_that_says_its_kind(self):
        for name in ("cost.svg", "folder/cost.png"):
            self.assertEqual(options.parse(["--plot", name]).plot, pathlib.Path(name))

    def test_drawing_what_was_kept_needs_a_picture(self):
        with contextlib.redirect_stderr(io.StringIO()) as said, self.assertRaises(SystemExit):
            options.parse(["--from", "kept.json"])
        self.assertIn("--from needs --plot", said.getvalue())

    def test_peers_from_wheels_are_measured_only_when_named(self):
        self.assertFalse(wheels.WHEELS.keys() & set(options.parse([]).peers))
        self.assertEqual(options.parse(["--peers", "mpich5,oneccl"]).peers, ["mpich5", "oneccl"])

    def test_every_number_of_ranks_from_2_to_16_can_be_asked_for(self):
        counts = list(range(2, 17))
        self.assertEqual(options.parse(["--ranks", ",".join(map(str, counts))]).ranks, counts)

    def test_writes_sizes_as_it_reads_them(self):
        self.assertEqual([options.bytes_text(options.bytes_of(text)) for text in ("8", "1000", "64K", "1536", "128M", "2G")],
                         ["8 B", "1000 B", "64 KiB", "1536 B", "128 MiB", "2 GiB"])
        with self.assertRaises(argparse.ArgumentTypeError):
            options.bytes_of("64 K")


if __name__ == "__main__":
    unittest.main()
