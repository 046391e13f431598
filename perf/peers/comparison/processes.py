"""Jobs: groups of processes that are started together and end together, or are ended."""

import ctypes
import dataclasses
import os
import signal
import subprocess
import time

_PR_SET_PDEATHSIG = 1
_GRACE_S = 15  # between asking a job to end and killing it: a lab has much to clear up
_PAUSE_S = 0.002
_LIBC = ctypes.CDLL(None)


def _die_with_parent():
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def start(command, environment, output):
    """A process in a session of its own that ends when this process does."""
    return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                            start_new_session=True, preexec_fn=_die_with_parent)


def _members(session):
    """The processes of a session, without those that are dead already. Launchers give ranks groups of their own, but
    the session stays."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdecimal():
            continue
        try:
            with open(f"/proc/{entry}/stat", encoding="ascii", errors="replace") as file:
                state, _, _, its_session = file.read().rpartition(")")[2].split()[:4]
        except OSError:
            continue  # it has just ended
        if int(its_session) == session and state != "Z":
            found.append(int(entry))
    return found


def end(processes):
    """Asks the processes to end, and after a while kills all that is left of their sessions. Is not interrupted."""
    before = [(one, signal.signal(one, signal.SIG_IGN)) for one in (signal.SIGINT, signal.SIGTERM)]
    try:
        _end(processes)
    finally:
        for one, handler in before:
            signal.signal(one, handler)


def _end(processes):
    for process in processes:
        if process.poll() is None:
            process.terminate()
    deadline = time.monotonic() + _GRACE_S
    while time.monotonic() < deadline and any(process.poll() is None for process in processes):
        time.sleep(_PAUSE_S)
    for process in processes:
        while left := _members(process.pid):  # the killed take a moment to go, and are to be gone before the next job
            for member in left:
                try:
                    os.kill(member, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(_PAUSE_S)
        process.wait()


def _busy_s():
    """Seconds that all cores together have been busy since the machine started."""
    with open("/proc/stat", encoding="ascii") as file:
        fields = [int(one) for one in file.readline().split()[1:]]
    idle_and_wait = fields[3] + fields[4]
    return (sum(fields[:8]) - idle_and_wait) / os.sysconf("SC_CLK_TCK")


def _own_s():
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@dataclasses.dataclass
class Ended:
    """How a job ended: `trouble` is empty when all went well."""
    started_s: float
    trouble: str
    other_load: float  # cores that anything else kept busy meanwhile


def _trouble(processes, limit_s, log):
    deadline = time.monotonic() + limit_s
    while True:
        codes = [process.poll() for process in processes]
        bad = next((code for code in codes if code), None)
        if bad is not None:
            log.seek(0)
            lines = log.read().decode(errors="replace").strip().splitlines()
            how = f"ended by signal {-bad}" if bad < 0 else f"exit status {bad}"
            return how + (f": {lines[-1].strip()}" if lines else "")
        if all(code == 0 for code in codes):
            return ""
        if time.monotonic() > deadline:
            return f"did not finish in {limit_s:g} s; ended"
        time.sleep(_PAUSE_S)


def run(commands, limit_s, log):
    """Runs (command, environment) pairs side by side until all have ended, one badly, or the limit is over."""
    busy_s, own_s, started_s = _busy_s(), _own_s(), time.monotonic()
    processes = []
    try:
        for command, environment in commands:
            processes.append(start(command, environment, log))
        trouble = _trouble(processes, limit_s, log)
    except OSError as error:
        trouble = f"could not be started: {error}"
    finally:
        end(processes)
    took_s = max(time.monotonic() - started_s, 1e-3)
    other = (_busy_s() - busy_s) - (_own_s() - own_s)
    return Ended(started_s, trouble, round(max(0.0, other) / took_s, 2))


class Load:
    """Keeps every core busy for as long as it is entered."""

    def __init__(self, cores):
        self.cores = cores
        self.processes = []

    def __enter__(self):
        for _ in range(self.cores):
            self.processes.append(start(["sh", "-c", "while :; do :; done"], dict(os.environ), subprocess.DEVNULL))
        return self

    def __exit__(self, *_):
        end(self.processes)
