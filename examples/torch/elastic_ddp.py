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
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time

BATCH = 48
LIMIT_SECONDS = 600  # for what is left of the training when all have been killed


def member(steps, hold, slow_seconds):
    import torch
    from torch import nn

    import tutti.torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 64), nn.Tanh(), nn.Linear(64, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    elastic = tutti.torch.Elastic(model, optimizer, op="sum")
    is_new = elastic.done > 0
    print("ready", flush=True)
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
    print(json.dumps(told), flush=True)


def start(options, environment, hold):
    command = [sys.executable, os.path.abspath(__file__), "--steps", str(options.steps), "--slow", str(options.slow)]
    command += ["--member", hold]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def train(options, kills):
    """What the processes said that were there in the end."""
    with tempfile.TemporaryDirectory() as store, tempfile.NamedTemporaryFile() as hold:
        outer = {name: value for name, value in os.environ.items() if name not in ("TUTTI_RANK", "TUTTI_SIZE")}
        environment = dict(outer, TUTTI_STORE=f"file://{store}", TUTTI_SECRET=secrets.token_hex(8))
        first = {"TUTTI_SIZE": str(options.processes)}
        members = [
            start(options, {**environment, **first, "TUTTI_RANK": str(r)}, hold.name if kills else "")
            for r in range(options.processes)
        ]
        try:
            return disturb(options, kills, members, lambda: start(options, environment, hold.name), hold)
        finally:
            for process in members:
                process.kill()  # does nothing to those that have ended


def disturb(options, kills, members, join, hold):
    """Kills and replaces, then lets the training come to its end."""
    chance = random.Random(options.seed)
    for process in members:
        process.stdout.readline()  # it is a member
    for _ in range(kills):
        time.sleep(options.every)
        victim = members.pop(chance.randrange(len(members)))
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        members.append(join())  # without a rank: it joins
        members[-1].stdout.readline()
    hold.close()
    return [json.loads(process.communicate(timeout=LIMIT_SECONDS)[0] or "{}") for process in members]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--every", type=float, default=2, help="seconds between two kills")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--slow", type=float, default=0.1, help="seconds that a step takes until all have been killed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--member", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.member is not None:
        member(options.steps, options.member, options.slow)
        return 0
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
