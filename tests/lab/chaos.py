"""A cluster of the lab in which members of a small training come and go while links fail, and what must hold then.

Every second or so something happens to a process or a link, chosen by a seed: killed, stopped for a moment or for too
long, asked to leave, started anew; a link down for a moment or for too long, deaf in one direction, slower. Faults are
chosen so that those who are left could decide (more than half of the newest view), so nobody has a reason to stop but
who was away. tests/process/chaos_main.cc is a member; what it prints is all that is known about it here."""

import os
import random
import selectors
import signal
import subprocess
import time
from collections import Counter

from tutti_lab.events import Event
from tutti_lab.relay import die_with_parent

LEAST, WANTED, MOST = 4, 8, 12
HEARTBEAT_S = 1
SHORT_S = (0.1, 0.4)  # below the heartbeat's limit: nobody may be lost by it
LONG_S = 4  # beyond it: the others go on
STANDSTILL_S = 60
DONE, LEFT, LEFT_BEHIND, TOO_LATE = 0, 6, 7, 8
OF_THE_STORE = 2  # descriptors that stay open as long as the process, as the store does
NEVER = -1


class Member:
    """A process that is, wants to be or was a member."""

    def __init__(self, number, host, process):
        self.number = number
        self.host = host
        self.process = process
        self.rest = b""
        self.epoch = NEVER  # of its last view
        self.is_going = False  # killed, or asked to leave; it may come to the end before it has heard that
        self.was_cut_off = False  # its host, while it wanted to join
        self.failure = None
        self.end = None  # the words of its last line
        os.set_blocking(process.stdout.fileno(), False)

    def __str__(self):
        return f"member {self.number} ({self.host}, pid {self.process.pid})"

    def lines(self):
        *lines, self.rest = (self.rest + (self.process.stdout.read(65536) or b"")).split(b"\n")
        return [line.decode() for line in lines]


class Chaos:
    def __init__(self, cluster, program, folder, transports, seed, **settings):
        self.cluster = cluster
        self.hosts = cluster.topology.hosts
        self.program = program
        self.folder = folder
        self.random = random.Random(seed)
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("TUTTI_")},
            "TUTTI_ELASTIC": "on", "TUTTI_TRANSPORTS": transports, "TUTTI_STORE": f"file://{folder}/store",
            "TUTTI_HEARTBEAT_TIMEOUT": f"{HEARTBEAT_S}s", "TUTTI_TIMEOUT": "2s", "TUTTI_CONNECT_TIMEOUT": "30s",
            "TUTTI_LOG": "error", "TUTTI_LOG_FILE": f"{folder}/log", "TUTTI_RECORDER_DIRECTORY": folder,
            **settings}
        os.mkdir(f"{folder}/store", 0o700)
        self.links = {link.ends[0]: link for link in cluster.topology.links}  # of each host to the switch
        self.living = []
        self.pids = []  # of all that were started
        self.selector = selectors.DefaultSelector()
        self.views = {}  # epoch -> (size, step, hash), the same from everybody
        self.pending = []  # (when, what ends a fault, members or host that are away until then)
        self.events = Counter()
        self.ends = []
        self.left_behind = self.joined = self.shut_out = 0
        self.wrong = []
        self.step = 0
        self.moved_at = time.monotonic()
        self.longest_standstill_s = 0.0

    # ---- what happens

    def found(self, members):
        for rank in range(members):
            self.start(self.host(rank), ["found", str(rank), str(members)])
        self.until(lambda: self.views, "the first view")

    def disturb(self, seconds, pause_s=(1, 3)):
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.wrong:
            self.something()
            self.watch(self.random.uniform(*pause_s))
        self.come_to_an_end()

    def come_to_an_end(self):
        if self.wrong:
            return
        for _, undo, _ in self.pending:
            undo()
        self.pending.clear()
        self.until(lambda: all(member.epoch == max(self.views) for member in self.living), "one view of all that live")
        for member in self.living:
            member.process.send_signal(signal.SIGUSR1)
        self.until(lambda: not self.living, "the end of all members")

    def host(self, number):
        return self.hosts[number % len(self.hosts)]

    def start(self, host, words):
        process = subprocess.Popen(self.cluster.command(host, [self.program, *words]), stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, preexec_fn=die_with_parent, env=self.environment, bufsize=0)
        member = Member(len(self.pids), host, process)
        member.was_cut_off = host in self.hosts_away()
        self.pids.append(process.pid)
        self.living.append(member)
        self.selector.register(process.stdout, selectors.EVENT_READ, member)
        return member

    def something(self):
        kinds = {"join": 2 * max(1, WANTED - len(self.living)), "kill": 3, "leave": 2, "stop": 2, "stop_long": 1,
                 "down": 2, "down_long": 1, "deaf_long": 1, "rate": 2}
        kind = self.random.choices(list(kinds), kinds.values())[0]
        if len(self.living) <= LEAST or (len(self.living) >= MOST and kind == "join"):
            kind = "join" if len(self.living) <= LEAST else "kill"
        if not getattr(self, kind)():
            kind = "join"
            if len(self.living) >= MOST:
                return
            self.join()
        self.events[kind] += 1

    def away(self):
        """Members that do not answer for now."""
        absent = [who for _, _, who in self.pending]
        return [member for member in self.living if member in absent or member.host in absent]

    def hosts_away(self):
        return [who for _, _, who in self.pending if isinstance(who, str)]

    def may_lose(self, lost):
        """Whether more than half of the newest view, with all that may be let in to it, would be left."""
        newest = max(self.views)
        there = [member for member in self.living if member.epoch == newest and not member.is_going]
        left = [member for member in there if member not in lost and member not in self.away()]
        waiting = [member for member in self.living if member.epoch == NEVER]
        return 2 * len(left) > self.views[newest][0] + len(waiting)

    def victim(self):
        return self.random.choice([member for member in self.living if member not in self.away()] or self.living)

    def join(self):
        self.start(self.host(self.random.randrange(1000)), ["join"])
        return True

    def kill(self):
        member = self.victim()
        if not self.may_lose([member]):
            return False
        member.is_going = True
        member.process.kill()
        return True

    def leave(self):
        member = self.victim()
        if member.epoch == NEVER or not self.may_lose([member]):
            return False
        member.is_going = True
        member.process.terminate()
        return True

    def stop(self):
        return self.stop_for(self.random.uniform(*SHORT_S))

    def stop_long(self):
        return self.stop_for(LONG_S)

    def stop_for(self, seconds):
        member = self.victim()
        if member.is_going or not self.may_lose([member]):
            return False
        member.process.send_signal(signal.SIGSTOP)
        self.later(seconds, lambda: member.process.send_signal(signal.SIGCONT), member)
        return True

    def down(self):
        return self.cut(self.random.uniform(*SHORT_S), ("down",), ("up",))

    def down_long(self):
        return self.cut(LONG_S, ("down",), ("up",))

    def deaf_long(self):
        """Packets pass one way only: to the host or from it."""
        host = self.host(self.random.randrange(1000))
        towards = self.random.choice(self.links[host].ends)
        return self.cut(LONG_S, ("loss", 1.0, towards), ("loss", 0.0, towards), host)

    def cut(self, seconds, fault, healed, host=None):
        host = host or self.host(self.random.randrange(1000))
        if self.hosts_away():
            return False
        if not self.may_lose([member for member in self.living if member.host == host]):
            return False
        for member in self.living:
            member.was_cut_off |= member.host == host and member.epoch == NEVER
        self.link(host, fault)
        self.later(seconds, lambda: self.link(host, healed), host)
        return True

    def rate(self):
        self.link(self.host(self.random.randrange(1000)), ("rate", self.random.choice([100, 300, 1000]) * 10**6))
        return True

    def link(self, host, change):
        self.cluster.apply(Event(0, "link", self.links[host].name, *change))

    def later(self, seconds, undo, who):
        self.pending.append((time.monotonic() + seconds, undo, who))

    # ---- what is seen

    def until(self, is_so, what):
        end = time.monotonic() + STANDSTILL_S
        while not is_so() and not self.wrong:
            if time.monotonic() > end:
                self.wrong.append(f"{what} did not come within {STANDSTILL_S} s; there are "
                                  f"{', '.join(f'{member} of epoch {member.epoch}' for member in self.living)}")
            self.watch(0.05)

    def watch(self, seconds):
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            for entry in [one for one in self.pending if one[0] <= now]:
                self.pending.remove(entry)
                entry[1]()
            for key, _ in self.selector.select(min([end, *(when for when, _, _ in self.pending)]) - now):
                self.hear(key.data)
            self.longest_standstill_s = max(self.longest_standstill_s, time.monotonic() - self.moved_at)
            if time.monotonic() - self.moved_at > STANDSTILL_S:
                self.wrong.append(f"nobody has made a step for {STANDSTILL_S} s; the last was {self.step}")
                return

    def hear(self, member):
        lines = member.lines()
        for line in lines:
            what, *words = line.split()
            if what == "view":
                self.see_view(member, *words)
            elif what == "step":
                self.see_step(int(words[0]))
            elif what == "end":
                member.end = words
            else:
                member.failure = line
        if not lines and member.process.poll() is not None:
            self.see_end(member)

    def see_view(self, member, epoch, rank, size, step, model):
        self.joined += member.epoch == NEVER and int(epoch) > 0
        member.epoch = int(epoch)
        seen = (int(size), int(step), model)
        if self.views.setdefault(member.epoch, seen) != seen:
            self.wrong.append(f"{member}, rank {rank}: epoch {epoch} has size, step and model {seen}; another member "
                              f"said {self.views[member.epoch]}")
        self.see_step(int(step))

    def see_step(self, step):
        if step > self.step:
            self.step = step
            self.moved_at = time.monotonic()

    def see_end(self, member):
        status = member.process.wait()
        self.selector.unregister(member.process.stdout)
        member.process.stdout.close()
        self.living.remove(member)
        self.pending = [entry for entry in self.pending if entry[2] is not member]
        if status == -signal.SIGKILL and member.is_going:
            return
        if member.epoch == NEVER and member.was_cut_off and member.failure is not None:
            self.shut_out += 1
            return
        if status not in (DONE, LEFT, LEFT_BEHIND, TOO_LATE) or member.end is None:
            self.wrong.append(f"{member} ended with status {status}: {member.failure}")
            return
        step, model, before, after = member.end
        if int(after) > int(before) + OF_THE_STORE:
            self.wrong.append(f"{member} had {before} descriptors before, and has {after} after")
        if status == LEFT_BEHIND:
            self.left_behind += 1
        elif status == DONE:
            self.ends.append((int(step), model))

    def summary(self):
        events = ", ".join(f"{number} {kind}" for kind, number in sorted(self.events.items()))
        return (f"{len(self.pids)} processes; {events}; {max(self.views, default=0)} new views, {self.joined} joined, "
                f"{self.left_behind} left behind, {self.shut_out} shut out; {len(self.ends)} ended with step "
                f"{self.step}; the longest standstill was {self.longest_standstill_s:.1f} s")

    def log(self):
        """The end of what the members have logged."""
        path = os.path.join(self.folder, "log")
        if not os.path.exists(path):
            return ""
        with open(path, encoding="utf-8") as file:
            return file.read()[-3000:]

    def close(self):
        """Ends what is left of the processes."""
        for member in self.living:
            member.process.kill()
            member.process.wait()
            member.process.stdout.close()
