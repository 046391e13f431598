#!/usr/bin/env python3
"""Data-parallel training by processes that are killed and replaced all the time, with tutti.torch.Elastic.

    .venv/bin/python examples/torch/elastic_ddp.py [--processes 4] [--steps 2000] [--every 2] [--kills 5] [--slow 0.1]

Trains a small network twice: undisturbed, and while one of its processes is killed (SIGKILL) every few seconds and a new one
is started in its place. In the end all processes have the same model to the last bit, and the loss is that of the undisturbed
training, but for the order of sums. The exit status says whether that is so.

`member` is what a user writes; the rest starts, kills and compares.
"""
import argparse
import hashlib
import multiprocessing
import os
import random
import secrets
import sys
import tempfile
import time

BATCH = 48
LIMIT_SECONDS = 600  # for what is left of the training when all have been killed


def member(steps, hold, slow_seconds, tell):
    import torch
    from torch import nn

    import tutti.torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 64), nn.Tanh(), nn.Linear(64, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    elastic = tutti.torch.Elastic(model, optimizer, op="sum")
    is_new = elastic.done > 0
    tell("ready")
    losses = []
    for step in elastic.steps(steps):
        generator = torch.Generator().manual_seed(step)  # the batch of a step, whoever computes which part of it
        inputs = torch.randn(BATCH, 16, generator=generator)[elastic.rank :: elastic.size]
        optimizer.zero_grad()
        loss = (model(inputs) - inputs.prod(1, keepdim=True) - inputs.sum(1, keepdim=True)).square().sum() / BATCH
        loss.backward()
        mean = elastic.step(loss)
        if mean is not None:
            losses.append(mean)
        if os.path.exists(hold):  # so that there is something to disturb: a training like this is over in seconds
            time.sleep(slow_seconds)
    bits = hashlib.sha256()
    for tensor in (*model.state_dict().values(), *(t for s in optimizer.state.values() for t in s.values())):
        bits.update(tensor.numpy().tobytes())
    told = {"joined": is_new, "members": elastic.size, "loss": sum(losses[-10:]) / 10, "hash": bits.hexdigest()[:16]}
    elastic.close()
    tell(told)


def run_member(environment, steps, hold, slow_seconds, pipe):
    os.environ.update(environment)
    member(steps, hold, slow_seconds, pipe.send)


class Member:
    """A process of its own, forked from one that has imported torch, which takes seconds, and nothing else."""

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch._dynamo", "tutti.torch"])

    def __init__(self, options, environment, hold):
        self._pipe, its_pipe = self.context.Pipe(duplex=False)
        arguments = (environment, options.steps, hold, options.slow, its_pipe)
        self.process = self.context.Process(target=run_member, args=arguments)
        self.process.start()
        its_pipe.close()

    def told(self):
        """What it says next; None if it ends without a word."""
        if not self._pipe.poll(LIMIT_SECONDS):
            raise TimeoutError(f"process {self.process.pid} has said nothing for {LIMIT_SECONDS} s")
        try:
            return self._pipe.recv()
        except EOFError:
            return None


def train(options, kills):
    """What the processes said that were there in the end."""
    with tempfile.TemporaryDirectory() as store, tempfile.NamedTemporaryFile() as hold:
        environment = {"TUTTI_STORE": f"file://{store}", "TUTTI_SECRET": secrets.token_hex(8)}
        first = {**environment, "TUTTI_SIZE": str(options.processes)}
        members = [
            Member(options, {**first, "TUTTI_RANK": str(rank)}, hold.name if kills else "")
            for rank in range(options.processes)
        ]
        try:
            return disturb(options, kills, members, lambda: Member(options, environment, hold.name), hold)
        finally:
            for one in members:
                if one.process.is_alive():
                    one.process.kill()


def disturb(options, kills, members, join, hold):
    """Kills and replaces, then lets the training come to its end."""
    chance = random.Random(options.seed)
    for one in members:
        one.told()  # it is a member
    for _ in range(kills):
        time.sleep(options.every)
        victim = members.pop(chance.randrange(len(members)))
        victim.process.kill()
        victim.process.join()
        members.append(join())  # without a rank: it joins
        members[-1].told()
    hold.close()
    return [one.told() for one in members]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--every", type=float, default=2, help="seconds between two kills")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--slow", type=float, default=0.1, help="seconds that a step takes until all have been killed")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for name in ("TUTTI_RANK", "TUTTI_SIZE"):
        os.environ.pop(name, None)
    calm, said = train(options, 0), train(options, options.kills)
    for name, ends in (("undisturbed", calm), (f"{options.kills} killed", said)):
        for end in ends:
            print(f"{name:12} {end}")
    ends = [end for end in said if end]
    same = len(ends) > 0 and len({end["hash"] for end in ends}) == 1
    close = same and abs(ends[0]["loss"] - calm[0]["loss"]) <= 0.05 * calm[0]["loss"]
    print("all have the same model" if same else "MODELS DIFFER", "and the loss is", "as undisturbed" if close else "ANOTHER")
    return 0 if same and close and len(ends) == options.processes else 1


if __name__ == "__main__":
    sys.exit(main())
