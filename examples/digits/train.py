#!/usr/bin/env python3
"""Trains a small neural network to read handwritten digits, with several processes and with one, and compares.

    examples/digits/train.py [--processes 4] [--epochs 30] [--library build/release/lib/libtutti.so]

Each process works on its part of every batch; tutti_all_reduce adds up the gradients, so every process takes the same
step and holds the same weights. The seed and the batches do not depend on the number of processes: the loss curves
must agree up to the rounding of sums, and the accuracy must be the same.

Needs numpy and scikit-learn (for the data: 1797 images of 8 x 8 pixels). Exit status: 0 if the runs agree.
"""
import argparse
import os
import pathlib
import secrets
import subprocess
import sys
import tempfile
import time
import zlib

import numpy

from digits import SEED, TEST_IMAGES, Model, save_data
from tutti_ctypes import Communicator, Library, TuttiError, find_library

HIDDEN = 48
BATCH = 96
LEARNING_RATE = 0.3
LOSS_TOLERANCE = 1e-5


def train(data, epochs, communicator):
    """The loss of each epoch and the final accuracy. communicator None: alone."""
    rank, size = (communicator.rank, communicator.size) if communicator else (0, 1)
    images, labels = data["images"][:-TEST_IMAGES], data["labels"][:-TEST_IMAGES]
    model = Model(images.shape[1], HIDDEN)
    order = numpy.random.default_rng(SEED + 1)
    losses = []
    for _ in range(epochs):
        shuffled = order.permutation(len(images))
        batches = [shuffled[i:i + BATCH] for i in range(0, len(images) - BATCH + 1, BATCH)]
        total = 0.0
        for batch in batches:
            mine = batch[rank * BATCH // size:(rank + 1) * BATCH // size]
            model.add_up_gradients(images[mine], labels[mine], BATCH)
            if communicator:
                communicator.sum(model.gradients)
            total += float(model.gradients[-1])
            model.step(LEARNING_RATE)
        losses.append(total / len(batches))
    if communicator:
        check_same_weights(model, communicator)
    return losses, model.accuracy(data["images"][-TEST_IMAGES:], data["labels"][-TEST_IMAGES:])


def check_same_weights(model, communicator):
    checksums = communicator.gather(numpy.array([zlib.crc32(model.weights.tobytes())], numpy.uint32))
    if len(set(checksums.ravel())) != 1:
        raise SystemExit(f"rank {communicator.rank}: the ranks hold different weights: {checksums.ravel().tolist()}")


def run_rank(options):
    """One of the processes that run_processes starts."""
    communicator = Communicator(Library(options.library))
    losses, accuracy = train(numpy.load(options.data), options.epochs, communicator)
    if communicator.rank == 0:
        numpy.savez(options.results, losses=losses, accuracy=accuracy)
    communicator.close()


def run_processes(options, directory, data):
    environment = dict(os.environ, TUTTI_SIZE=str(options.processes), TUTTI_STORE=f"file://{directory}/store",
                       TUTTI_SECRET=secrets.token_hex(16))
    (directory / "store").mkdir()
    results = directory / "results.npz"
    command = [sys.executable, __file__, "--rank-of", str(data), "--results", str(results), "--library",
               options.library, "--epochs", str(options.epochs)]
    ranks = [subprocess.Popen(command, env=dict(environment, TUTTI_RANK=str(rank))) for rank in range(options.processes)]
    statuses = [rank.wait() for rank in ranks]
    if any(statuses):
        raise SystemExit(f"train.py: the processes ended with exit statuses {statuses}")
    found = numpy.load(results)
    return found["losses"].tolist(), float(found["accuracy"])


def report(alone, together, options, seconds):
    differences = [abs(a - b) for a, b in zip(alone[0], together[0])]
    print(f"{'epoch':>6}  {'loss, 1 process':>16}  {f'loss, {options.processes} processes':>18}  {'difference':>11}")
    shown = sorted({0, 1, 2, 4, 9, 19, options.epochs - 1} & set(range(options.epochs)))
    for epoch in shown:
        print(f"{epoch + 1:>6}  {alone[0][epoch]:>16.7f}  {together[0][epoch]:>18.7f}  {differences[epoch]:>11.1e}")
    print(f"largest difference of a loss: {max(differences):.1e} (allowed: {LOSS_TOLERANCE:g})")
    print(f"accuracy on {TEST_IMAGES} images not trained on: {alone[1]:.2%} with 1 process, {together[1]:.2%} with "
          f"{options.processes}")
    agree = max(differences) <= LOSS_TOLERANCE and alone[1] == together[1]
    print(f"{'The runs agree.' if agree else 'THE RUNS DO NOT AGREE.'} ({seconds:.1f} s)")
    return agree


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--library", default=find_library(), help="libtutti.so")
    parser.add_argument("--rank-of", dest="data", help=argparse.SUPPRESS)
    parser.add_argument("--results", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not 1 <= options.processes <= BATCH or options.epochs < 1:
        parser.error(f"--processes is 1 to {BATCH}, --epochs at least 1")
    try:
        if options.data:
            run_rank(options)
            return 0
        begin = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="tutti-digits-") as name:
            data = pathlib.Path(name) / "digits.npz"
            save_data(data)
            alone = train(numpy.load(data), options.epochs, None)
            together = run_processes(options, pathlib.Path(name), data)
        return 0 if report(alone, together, options, time.monotonic() - begin) else 1
    except (TuttiError, OSError) as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
