"""A job of members as processes: started, disturbed at moments from a seed, heard, and looked at when all is over."""
import json
import os
import pathlib
import random
import secrets
import selectors
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field

MEMBER = pathlib.Path(__file__).with_name("member.py")
LEAST, MOST = 3, 12  # members between which a disturbed job is kept
SPARES = 2  # processes that are loaded, and wait to be asked to join
PAUSE_STEPS = (20, 80)  # between two disturbances
PAUSE_S = 0.25  # at least
CALM_SHARE = (0.05, 0.85)  # of the steps: nothing happens before and after
STANDSTILL_S = 60


@dataclass
class Result:
    """What a job has come to."""
    losses: dict = field(default_factory=dict)  # by step
    joined: int = 0
    sizes: list = field(default_factory=list)  # (step, members), at each new view
    events: list = field(default_factory=list)  # (step, "kill", "leave" or "join")
    recoveries_s: list = field(default_factory=list)  # from each kill to the next step that was done
    ends: list = field(default_factory=list)  # what each survivor said in the end
    left_over: list = field(default_factory=list)
    seconds: float = 0.0

    def count(self, kind):
        return sum(1 for _, what in self.events if what == kind)

    def final_loss(self):
        last = sorted(self.losses)[-15:]  # an epoch
        return statistics.fmean(self.losses[step] for step in last)


class Member:
    def __init__(self, number, process):
        self.number = number
        self.process = process
        self.rest = b""
        self.is_member = False
        self.is_ready = False  # a spare
        self.killed_at = None
        self.is_leaving = False
        os.set_blocking(process.stdout.fileno(), False)

    def said(self):
        *lines, self.rest = (self.rest + (self.process.stdout.read(65536) or b"")).split(b"\n")
        return [json.loads(line) for line in lines]


class Job:
    """One training from the first to the last step. `show` is told what changes."""

    def __init__(self, options, folder, name, seed, show):
        self.options = options
        self.show = show
        self.random = random.Random(seed) if seed is not None else None  # None: nobody disturbs it
        self.folder = folder
        self.store = folder / name
        self.store.mkdir()
        self.token = secrets.token_hex(16)
        self.environment = dict(
            os.environ, TUTTI_ELASTIC="on", TUTTI_SIZE=str(options.processes), TUTTI_STORE=f"file://{self.store}",
            TUTTI_SECRET=self.token, TUTTI_TRANSPORTS=options.transports, TUTTI_LOG="error",
            TUTTI_RECORDER_DIRECTORY=str(folder), PYTHONDONTWRITEBYTECODE="1")
        self.result = Result()
        self.selector = selectors.DefaultSelector()
        self.members = []  # that live, or want to be members
        self.spares = []
        self.pids = []
        self.unanswered = []  # kills after which no step was done yet
        self.view = []  # the numbers of who is in it
        self.step = 0

    def run(self):
        began = time.monotonic()
        shared_before = shared_memory()
        files_before = len(os.listdir("/proc/self/fd"))
        try:
            for rank in range(self.options.processes):
                self.members.append(self.start("--number", str(rank), TUTTI_RANK=str(rank)))
            self.keep_spares()
            self.listen_until_all_have_ended()
        finally:
            for member in self.members + self.spares:
                member.process.kill()
                member.process.wait()
                member.process.stdin.close()
                member.process.stdout.close()
            self.selector.close()
        result = self.result
        result.seconds = time.monotonic() - began
        result.left_over = [f"process {pid}" for pid in self.processes_left()]
        result.left_over += [f"/dev/shm/{name}" for name in shared_memory() - shared_before if self.is_ours(name)]
        result.left_over += ["an open file of a member" for end in result.ends for _ in range(end["files"])]
        result.left_over += ["an open file of elastic.py"
                             for _ in range(files_before, len(os.listdir("/proc/self/fd")))]
        return result

    def start(self, *words, **environment):
        command = [sys.executable, str(MEMBER), "--data", str(self.folder / "digits.npz"), "--store", str(self.store),
                   "--library", self.options.library, "--steps", str(self.options.steps), *words]
        process = subprocess.Popen(command, env={**self.environment, **environment}, stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, bufsize=0)
        member = Member(len(self.pids), process)
        self.pids.append(process.pid)
        self.selector.register(process.stdout, selectors.EVENT_READ, member)
        return member

    def keep_spares(self):
        while self.random and len(self.spares) < SPARES:
            self.spares.append(self.start("--number", str(len(self.pids)), "--join"))

    def listen_until_all_have_ended(self):
        moved = time.monotonic()
        disturb_at, disturb_step = moved, 0
        while self.members:
            step = self.step
            for key, _ in self.selector.select(0.05):
                self.hear(key.data)
            now = time.monotonic()
            moved = now if self.step != step or self.step == self.options.steps else moved
            if now - moved > STANDSTILL_S:
                raise RuntimeError(f"no step was done for {STANDSTILL_S} s after step {self.step}")
            begin, end = (share * self.options.steps for share in CALM_SHARE)
            is_time = now >= disturb_at and max(begin, disturb_step) <= self.step < end
            if self.random and is_time and self.disturb():
                disturb_at, disturb_step = now + PAUSE_S, self.step + self.random.randint(*PAUSE_STEPS)
            if self.step == self.options.steps and self.result.ends:
                self.send_home_who_came_too_late()
            self.show.update(self)

    def disturb(self):
        """False: not yet, as no spare is ready."""
        living = [member for member in self.members if member.killed_at is None and not member.is_leaving]
        inside = [member for member in living if member.number in self.view]
        missing = self.options.processes - len(living)
        joins = len(living) < MOST and self.random.random() < 0.4 + 0.2 * missing
        if joins or len(inside) <= LEAST or not self.result.events:
            return self.ask_a_spare()
        if self.random.random() < 0.25:
            leaver = self.random.choice(inside)
            leaver.is_leaving = True
            leaver.process.terminate()
            self.note("leave", f"process {leaver.number} is asked to leave")
            return True
        victims = self.random.sample(living, 2 if len(inside) > LEAST + 1 and self.random.random() < 0.2 else 1)
        for victim in victims:
            victim.killed_at = time.monotonic()
            victim.process.kill()
            if victim.number in self.view:
                self.unanswered.append(victim)
            self.note("kill", f"process {victim.number} killed")
        return True

    def ask_a_spare(self):
        ready = [spare for spare in self.spares if spare.is_ready]
        if not ready:
            return False
        self.spares.remove(ready[0])
        self.members.append(ready[0])
        ready[0].process.stdin.write(b"join\n")
        self.note("join", f"process {ready[0].number} asks to join")
        self.keep_spares()
        return True

    def note(self, kind, sentence):
        self.result.events.append((self.step, kind))
        self.show.event(self, kind, sentence)

    def hear(self, member):
        said = member.said()
        for one in said:
            if "loss" in one and "at" in one:
                self.hear_of_step(one)
            elif "view" in one:
                self.hear_of_view(member, one)
            elif "ready" in one:
                member.is_ready = True
            elif "left" in one:
                self.show.event(self, "left", f"process {member.number} has left, after step {one['left']}")
            elif "end" in one:
                self.result.ends.append({**one, "number": member.number})
            else:
                raise RuntimeError(f"process {member.number}: {one.get('failure', one)}")
        if not said and member.process.poll() is not None:
            self.members.remove(member)
            self.selector.unregister(member.process.stdout)
            member.process.stdout.close()
            member.process.stdin.close()
            if member.process.returncode != (-signal.SIGKILL if member.killed_at else 0):
                raise RuntimeError(f"process {member.number} ended with status {member.process.returncode}")

    def hear_of_step(self, one):
        self.step = max(self.step, one["step"])
        if self.result.losses.setdefault(one["step"], one["loss"]) != one["loss"]:
            raise RuntimeError(f"step {one['step']} was done twice, with unlike losses")
        answered = [victim for victim in self.unanswered if victim.number not in self.view]
        for victim in answered:
            self.unanswered.remove(victim)
            self.result.recoveries_s.append(one["at"] - victim.killed_at)
            self.show.event(self, "recovery", f"{len(self.view)} go on after "
                                              f"{1000 * (one['at'] - victim.killed_at):.0f} ms")

    def hear_of_view(self, member, one):
        if not member.is_member and member.number >= self.options.processes:
            self.result.joined += 1
            self.show.event(self, "joined", f"process {member.number} is in, with {one['bytes'] / 1024:.0f} KiB of "
                                            f"state from step {one['step']}")
        member.is_member = True
        if one["rank"] == 0:
            self.view = one["view"]
            self.result.sizes.append((one["step"], len(self.view)))

    def send_home_who_came_too_late(self):
        for member in self.members:
            if not member.is_member and member.killed_at is None:
                member.killed_at = time.monotonic()
                member.process.kill()

    def is_ours(self, name):
        return "tutti" in name and any(f"-{pid}-" in name for pid in self.pids)

    def processes_left(self):
        """Whoever has this job's secret."""
        left = []
        for entry in pathlib.Path("/proc").iterdir():
            try:
                if entry.name.isdecimal() and self.token.encode() in (entry / "environ").read_bytes():
                    left.append(int(entry.name))
            except OSError:
                continue  # it has ended, or is somebody else's
        return left


def shared_memory():
    folder = pathlib.Path("/dev/shm")
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}
