"""What the lab does to this machine, all of it inside namespaces of its own, and how they are found and removed again.

Every namespace is named tutti-lab-PID-START-NODE after the lab process that made it and the time when that process
started, so a name tells whether its owner still lives, also after its number was given to another process."""

import os
import re
import signal
import subprocess
import time

from tutti_lab.errors import MachineError

_NAMESPACES = "/run/netns"
_NAME = re.compile(r"tutti-lab-(\d+)-(\d+)-([A-Za-z0-9_]+)")
_PATIENCE_S = 5


def _start_time(pid):
    """In clock ticks since the machine started; None where there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def own_prefix():
    return f"tutti-lab-{os.getpid()}-{_start_time(os.getpid())}-"


def namespaces():
    """(name, owner's pid, node, whether the owner lives) of every lab on this machine."""
    try:
        names = sorted(os.listdir(_NAMESPACES))
    except OSError:
        return []
    matches = [match for match in map(_NAME.fullmatch, names) if match]
    return [(match[0], int(match[1]), match[3], _start_time(int(match[1])) == int(match[2])) for match in matches]


def call(arguments, text=""):
    """Runs a tool with `text` as its input and gives back what it printed; MachineError in the tool's own words."""
    try:
        done = subprocess.run(arguments, input=text, capture_output=True, text=True, check=False)
    except OSError as error:
        raise MachineError(f"{arguments[0]}: {error.strerror} ({error.errno}); the lab needs the package iproute2"
                           ) from None
    if done.returncode != 0:
        words = " ".join((done.stderr or done.stdout).split())
        raise MachineError(f"{' '.join(arguments)}: {words} (exit status {done.returncode})")
    return done.stdout


def batch(tool, namespace, lines, tolerant=False):
    """Lines for ip or tc, inside a namespace. Tolerant: a line that does nothing is no error."""
    if not lines:
        return
    try:
        call([tool, "-n", namespace, *(["-force"] if tolerant else []), "-batch", "-"], "\n".join(lines) + "\n")
    except MachineError:
        if not tolerant:
            raise


def check_permission():
    """MachineError where network namespaces cannot be had, before anything is changed."""
    if os.geteuid() != 0:
        raise MachineError("network namespaces need root; run the lab by sudo, or in a user namespace of your own: "
                           "unshare -Urnm sh -c 'mount -t tmpfs run /run && mount -t sysfs sys /sys && "
                           "exec perf/lab/lab run ...'")
    name = own_prefix() + "probe"
    call(["ip", "netns", "add", name])
    remove(name)


def processes(name):
    try:
        return [int(pid) for pid in call(["ip", "netns", "pids", name]).split()]
    except MachineError:
        return []  # it is gone


def remove(name):
    """Ends every process in the namespace and removes it, with its devices. Only for names of the lab."""
    if not _NAME.fullmatch(name):
        raise ValueError(name)
    end = time.monotonic() + _PATIENCE_S
    while (found := processes(name)) and time.monotonic() < end:
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.01)
    if os.path.exists(f"{_NAMESPACES}/{name}"):
        call(["ip", "netns", "delete", name])


def remove_own():
    for name, _, _, _ in namespaces():
        if name.startswith(own_prefix()):
            remove(name)


def clean():
    """Removes what labs left behind that were killed; the names that are gone now."""
    left = [name for name, _, _, lives in namespaces() if not lives]
    for name in left:
        remove(name)
    return left
