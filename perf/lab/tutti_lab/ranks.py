"""The ranks of a run: started on their hosts, heard, sent signals at times, ended."""

import os
import re
import secrets
import selectors
import signal
import subprocess
import sys
import time

from tutti_lab import quantities
from tutti_lab.relay import die_with_parent

STORE_PORT = 20200  # any would do: nothing else lives in the namespace
_PLACE = re.compile(r"(?<!\$)\{(rank|host|size|local_rank|address)\}")  # ${rank} is the shell's own
_SECOND = 10**9
_GRACE_NS = 10 * _SECOND  # for the others to report what they see of a rank's end
_TERMINATE_GRACE_NS = 3 * _SECOND
_TAIL_NS = _SECOND // 2  # for output in pipes after the last rank has ended
_SIGNALS = {"kill": signal.SIGKILL, "terminate": signal.SIGTERM, "stop": signal.SIGSTOP, "continue": signal.SIGCONT}
TIMED_OUT_STATUS = 124


def say(sentence):
    print(f"lab: {sentence}", file=sys.stderr, flush=True)


class Rank:
    def __init__(self, number, host):
        self.number = number
        self.host = host
        self.process = None
        self.pidfd = None
        self.is_expected_to_end = False  # an event has killed it

    def signal(self, number):
        """To the rank and what it has started."""
        if self.process.returncode is None:
            os.killpg(self.process.pid, number)


class _Output:
    """One stream of a rank, given on in whole lines with the rank's name before them."""

    def __init__(self, rank, source, sink):
        self.source = source
        self.sink = sink
        self.head = f"[{rank.host} {rank.number}] ".encode()
        self.rest = b""
        os.set_blocking(source.fileno(), False)

    def forward(self):
        """False once the stream has ended."""
        piece = self.source.read(65536)
        if piece is None:
            return True
        *lines, self.rest = (self.rest + piece).split(b"\n")
        if not piece and self.rest:
            lines, self.rest = [self.rest], b""
        self.sink.write(b"".join(self.head + line + b"\n" for line in lines))
        self.sink.flush()
        return bool(piece)


def environment(plan, rank, local_rank, per_host, size, secret):
    """The caller's environment and what Tutti needs to find the other ranks."""
    result = {key: value for key, value in os.environ.items() if key != "TUTTI_SECRET_FILE"}
    result.update({
        "TUTTI_RANK": str(rank.number),
        "TUTTI_SIZE": str(size),
        "TUTTI_LOCAL_RANK": str(local_rank),
        "TUTTI_LOCAL_SIZE": str(per_host),
        "TUTTI_STORE": f"tcp://{plan.host_address(plan.topology.hosts[0])}:{STORE_PORT}",
        "TUTTI_SECRET": secret,
    })
    return result


class Run:
    """All ranks of one command. run() once; end() whatever happens."""

    def __init__(self, cluster, command, per_host, events, time_limit_ns=None):
        self.cluster = cluster
        self.command = command
        self.per_host = per_host
        self.events = sorted(events, key=lambda one: one.at_ns)
        self.time_limit_ns = time_limit_ns
        self.hosts = cluster.topology.hosts
        self.ranks = [Rank(i, self.hosts[i // per_host]) for i in range(len(self.hosts) * per_host)]
        self.selector = selectors.DefaultSelector()
        self.status = 0
        self.deadline_ns = None  # when the ranks that still run are ended
        self.is_terminated = False

    def run(self):
        """The exit status of the first rank that ended badly by itself, 128 + signal if by a signal; else 0."""
        secret = secrets.token_hex(16)
        for rank in self.ranks:
            self._start(rank, secret)
        start_ns = time.monotonic_ns()
        if self.time_limit_ns is not None:
            self.deadline_ns = start_ns + self.time_limit_ns
        while self._running():
            now = time.monotonic_ns()
            while self.events and start_ns + self.events[0].at_ns <= now:
                self._apply(self.events.pop(0))
            if self.deadline_ns is not None and self.deadline_ns <= now:
                self._give_up(now)
            nexts = [start_ns + one.at_ns for one in self.events[:1]]
            nexts += [self.deadline_ns] if self.deadline_ns is not None else []
            self._listen((min(nexts) - now) / _SECOND if nexts else None)
        end_ns = time.monotonic_ns() + _TAIL_NS
        while self.selector.get_map() and time.monotonic_ns() < end_ns:
            self._listen(0.05)
        return self.status

    def end(self):
        for rank in self.ranks:
            if rank.process is not None:
                try:
                    os.killpg(rank.process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
                rank.process.wait()

    def _running(self):
        return [rank for rank in self.ranks if rank.process.returncode is None]

    def _start(self, rank, secret):
        local_rank = rank.number % self.per_host
        values = {"rank": rank.number, "host": rank.host, "size": len(self.ranks), "local_rank": local_rank,
                  "address": self.cluster.plan.host_address(rank.host)}
        arguments = [_PLACE.sub(lambda match: str(values[match[1]]), one) for one in self.command]
        rank.process = subprocess.Popen(
            self.cluster.command(rank.host, arguments), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, start_new_session=True, preexec_fn=die_with_parent, bufsize=0,
            env=environment(self.cluster.plan, rank, local_rank, self.per_host, len(self.ranks), secret))
        rank.pidfd = os.pidfd_open(rank.process.pid)
        self.selector.register(rank.pidfd, selectors.EVENT_READ, rank)
        for source, sink in ((rank.process.stdout, sys.stdout.buffer), (rank.process.stderr, sys.stderr.buffer)):
            self.selector.register(source, selectors.EVENT_READ, _Output(rank, source, sink))

    def _listen(self, timeout_s):
        for key, _ in self.selector.select(None if timeout_s is None else max(timeout_s, 0)):
            if isinstance(key.data, _Output):
                if not key.data.forward():
                    self.selector.unregister(key.fileobj)
            else:
                self.selector.unregister(key.fileobj)
                os.close(key.data.pidfd)
                self._note_end(key.data)

    def _note_end(self, rank):
        status = rank.process.wait()
        if status == 0 or self.is_terminated:
            return
        how = f"was killed by signal {-status} ({signal.strsignal(-status)})" if status < 0 else \
            f"ended with exit status {status}"
        if rank.is_expected_to_end:
            say(f"rank {rank.number} on {rank.host} {how}, as the event wanted")
            return
        grace = f"; the others have {_GRACE_NS // _SECOND} s to end" if self.status == 0 else ""
        say(f"rank {rank.number} on {rank.host} {how}{grace}")
        if self.status == 0:
            self.status = 128 - status if status < 0 else status
            limit = time.monotonic_ns() + _GRACE_NS
            self.deadline_ns = limit if self.deadline_ns is None else min(limit, self.deadline_ns)

    def _apply(self, event):
        say(f"event at {quantities.show_time(event.at_ns)}: {event}")
        if event.kind == "link":
            self.cluster.apply(event)
            return
        rank = self.ranks[event.target]
        if rank.process.returncode is not None:
            say(f"rank {rank.number} on {rank.host} has ended before")
            return
        rank.is_expected_to_end |= event.action in ("kill", "terminate")
        rank.signal(_SIGNALS[event.action])

    def _give_up(self, now):
        running = self._running()
        if not self.is_terminated:
            if self.status == 0:
                say(f"the time limit of {self.time_limit_ns / _SECOND:g} s is over")
                self.status = TIMED_OUT_STATUS
            say(f"ranks {', '.join(str(rank.number) for rank in running)} still run and are ended")
        for rank in running:
            rank.signal(signal.SIGKILL if self.is_terminated else signal.SIGTERM)
        self.is_terminated = True
        self.deadline_ns = now + _TERMINATE_GRACE_NS
