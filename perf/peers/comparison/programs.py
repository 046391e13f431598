"""The programs that are compared: installs what is missing, and compiles each peer's side of the loop."""

import subprocess

from comparison import wheels
from comparison.errors import Trouble
from comparison.options import ROOT, library_of

_HERE = ROOT / "perf" / "peers"
_FLAGS = ["-O2", "-Wall", "-Wextra", f"-I{ROOT}", f"-I{ROOT / 'include'}"]


def install(peers):
    groups = ["peers"] + (["python"] if any(peer in wheels.WHEELS for peer in peers) else [])
    if not install_groups(groups):
        raise Trouble("The packages of the peers are missing and could not be installed. Install those of the group "
                      "'peers' in scripts/packages, or choose among those that are there with --peers and --no-install.")


def install_groups(groups):
    """Whether the groups of scripts/packages are there, installed now if need be."""
    script = f"source scripts/lib/install.sh && install_packages {' '.join(groups)}"
    return subprocess.run(["bash", "-c", script], cwd=ROOT, check=False).returncode == 0


def _run(command, what):
    done = subprocess.run([str(one) for one in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        raise Trouble(f"{what}: {' '.join(str(one) for one in command)} went wrong:\n"
                      f"{done.stdout.decode(errors='replace').strip()}")


def build_tutti(build):
    """libtutti.so and tutti-limits, as the sources are now."""
    if not (build / "CMakeCache.txt").exists():
        if build != ROOT / "build" / "release":
            raise Trouble(f"{build} is no build folder. Make it one: cmake -S {ROOT} -B {build} "
                          "-DCMAKE_BUILD_TYPE=Release")
        _run(["cmake", "-S", ROOT, "--preset", "release"], "configuring Tutti")
    _run(["cmake", "--build", build, "--target", "tutti", "tutti-limits"], "building Tutti")


def _commands(peer, build, folder):
    loop, program = _HERE / "bench.c", folder / f"{peer}_bench"
    if peer == "tutti":  # its library is found where it was built
        return [["cc", "-std=c99", *_FLAGS, loop, _HERE / "tutti_bench.c", "-o", program, f"-L{build / 'lib'}", "-ltutti",
                 f"-Wl,-rpath,{build / 'lib'}"]]
    if peer == "gloo":
        part = folder / "gloo_loop.o"
        return [["cc", "-std=c99", *_FLAGS, "-c", loop, "-o", part],
                ["c++", "-std=c++17", *_FLAGS, _HERE / "gloo_bench.cc", part, "-o", program, "-lgloo", "-pthread"]]
    if peer == "oneccl":
        part, its = folder / "oneccl_loop.o", wheels.environment_of(peer, build)
        return [["cc", "-std=c99", *_FLAGS, "-c", loop, "-o", part],
                ["c++", "-std=c++17", *_FLAGS, "-isystem", its / "include", _HERE / "oneccl_bench.cc", part, "-o", program,
                 its / "lib" / "ccl" / "cpu" / "lib" / "libccl.a", f"-L{its / 'lib'}", "-lmpi", "-lintlc", "-lhwloc",
                 f"-Wl,-rpath,{its / 'lib'}", "-pthread"]]
    compiler = wheels.environment_of(peer, build) / "bin" / "mpicc" if peer == "mpich5" else f"mpicc.{peer}"
    return [[compiler, "-std=c99", *_FLAGS, loop, _HERE / "mpi_bench.c", "-o", program]]


def build_peer(peer, build):
    """The path of the peer's program, compiled if a source or the library is newer than it."""
    peer = library_of(peer)
    folder = build / "peers"
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / f"{peer}_bench"
    sources = [_HERE / "bench.c", _HERE / "bench.h", ROOT / "include" / "tutti" / "tutti.h", *_HERE.glob(f"{peer}_bench.c*"),
               _HERE / "mpi_bench.c"]
    if peer in wheels.WHEELS:
        sources.append(wheels.marker_of(peer, build))
    newest = max(path.stat().st_mtime for path in sources)
    if not program.exists() or program.stat().st_mtime <= newest:
        for command in _commands(peer, build, folder):
            try:
                _run(command, f"compiling {peer}'s side")
            except FileNotFoundError as error:
                raise Trouble(f"compiling {peer}'s side: {error.filename} is not installed; leave {peer} out with "
                              "--peers, or install the group 'peers' of scripts/packages") from None
    return program
