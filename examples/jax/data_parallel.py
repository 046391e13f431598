"""Data-parallel training with JAX on the CPU, the gradients summed by Tutti, in two ways:

  between   two compiled functions with the all-reduce between them: the gradients are one flat array, of which Tutti
            reads JAX's own memory (DLPack); nothing of it is compiled
  inside    the all-reduce inside the compiled step, as an ordered io_callback, for code that cannot be cut in two

    python examples/jax/data_parallel.py [between|inside]      # by each rank: docs/python.md says how to start them

Prints the loss at the end, and a checksum of the weights, which is the same on every rank.
"""
import sys
import zlib

import jax
import jax.numpy as jnp
import numpy
from jax.experimental import io_callback
from jax.flatten_util import ravel_pytree

import tutti

STEPS = 200
RATE = 1.0


def data(rank, size):
    """This rank's rows of a made-up classification of points by the sign of a product."""
    points = numpy.random.default_rng(7).normal(size=(1024, 2)).astype(numpy.float32)
    return points[rank::size], (points[rank::size].prod(axis=1) > 0).astype(numpy.float32)


def new_weights():
    keys = jax.random.split(jax.random.PRNGKey(0), 2)
    return {"in": jax.random.normal(keys[0], (2, 32)), "bias": jnp.zeros(32), "out": jax.random.normal(keys[1], (32,)) / 6}


def loss(weights, points, labels):
    logits = jnp.tanh(points @ weights["in"] + weights["bias"]) @ weights["out"]
    return jnp.mean(jnp.logaddexp(0, logits) - labels * logits)


def step_with_sum_between(comm, unravel):
    @jax.jit
    def gradient(flat, points, labels):
        value, slopes = jax.value_and_grad(lambda each: loss(unravel(each), points, labels))(flat)
        return jnp.append(slopes, value)  # the loss travels along

    @jax.jit
    def update(flat, mean):
        return flat - RATE * mean[:-1], mean[-1]

    mean = None

    def step(flat, points, labels):
        nonlocal mean
        mine = gradient(flat, points, labels)
        mean = numpy.empty(mine.shape, mine.dtype) if mean is None else mean
        return update(flat, comm.all_reduce(mine, mean, op="average"))

    return step


def step_with_sum_inside(comm, unravel):
    def average(mine):
        return comm.all_reduce(numpy.ascontiguousarray(mine), numpy.empty(mine.shape, mine.dtype), op="average")

    @jax.jit
    def step(flat, points, labels):
        value, slopes = jax.value_and_grad(lambda each: loss(unravel(each), points, labels))(flat)
        mine = jnp.append(slopes, value)
        mean = io_callback(average, jax.ShapeDtypeStruct(mine.shape, mine.dtype), mine, ordered=True)
        return flat - RATE * mean[:-1], mean[-1]

    return step


def train(comm, way):
    points, labels = data(comm.rank, comm.size)
    flat, unravel = ravel_pytree(new_weights())
    step = {"between": step_with_sum_between, "inside": step_with_sum_inside}[way](comm, unravel)
    losses = []
    for _ in range(STEPS):
        flat, value = step(flat, points, labels)
        losses.append(float(value))
    return losses, numpy.asarray(flat)


def main():
    way = sys.argv[1] if len(sys.argv) > 1 else "between"
    if way not in ("between", "inside"):
        sys.exit(f"'{way}' is no way to sum; expected between or inside")
    with tutti.Communicator.from_environment() as comm:
        losses, weights = train(comm, way)
        print(f"rank {comm.rank} of {comm.size}: loss {losses[0]:.4f} to {losses[-1]:.4f}, "
              f"weights {zlib.crc32(weights.tobytes()):08x}", flush=True)


if __name__ == "__main__":
    main()
