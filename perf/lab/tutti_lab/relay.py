"""The program that delays packets: found, started, told new delays, ended."""

import ctypes
import os
import pathlib
import shutil
import signal
import subprocess

from tutti_lab.errors import MachineError

_PROGRAM = "tutti-lab-relay"
_ROOT = pathlib.Path(__file__).resolve().parents[3]
_END_PATIENCE_S = 2
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def die_with_parent():
    """For a child between fork and exec: SIGKILL when the lab ends, however it ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def find_program():
    """$LAB_RELAY, or the newest that any build folder has."""
    named = os.environ.get("LAB_RELAY")
    if named is not None:
        if shutil.which(named) is None:
            raise MachineError(f"LAB_RELAY is '{named}', which is no program; links with delay need {_PROGRAM}")
        return named
    found = sorted(_ROOT.glob(f"build*/**/bin/{_PROGRAM}"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise MachineError(f"links with delay need the program {_PROGRAM}, and no folder build*/ has it; build it by "
                           f"cmake --preset release && cmake --build --preset release --target {_PROGRAM}, or name it "
                           "in LAB_RELAY")
    return str(found[-1])


class Relay:
    def __init__(self, namespace, pairs):
        """`pairs`: (left device, right device, nanoseconds)."""
        program = find_program()
        arguments = [f"{left}:{right}:{delay}" for left, right, delay in pairs]
        self.process = subprocess.Popen(["ip", "netns", "exec", namespace, program, *arguments],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
                                        preexec_fn=die_with_parent)
        if self.process.stdout.readline() != b"ready\n":
            raise MachineError(f"{program} {' '.join(arguments)}: ended with exit status {self.process.wait()}")

    def set_delay(self, index, delay_ns):
        try:
            self.process.stdin.write(f"{index} {delay_ns}\n".encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            raise MachineError(f"{_PROGRAM} ended with exit status {self.process.wait()}, so that links with delay "
                               "carry nothing any more") from None

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(_END_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
