"""What programs for mpi4py do with NumPy arrays, by Tutti: rows scattered, a sum reduced, a result gathered, neighbours
on a ring, groups of ranks. Every rank checks what it got. Start it as docs/python.md says, or

    mpirun -n 4 python examples/python/mpi_style.py
"""
import numpy

import tutti


def scattered_dot_product(comm):
    """Rank 0 has two long vectors; every rank multiplies its share; the sum comes back to rank 0."""
    share = 1000
    vectors = numpy.arange(2.0 * share * comm.size).reshape(2, -1) if comm.rank == 0 else (None, None)
    mine = [comm.scatter(vector, numpy.empty(share), root=0) for vector in vectors]
    total = comm.reduce(numpy.array([mine[0] @ mine[1]]), numpy.empty(1), root=0)
    if comm.rank == 0:
        assert numpy.isclose(total[0], vectors[0] @ vectors[1])


def ring(comm):
    """Everybody sends to the right and receives from the left at once: in a group neither waits for the other."""
    sent, received = numpy.array([comm.rank]), numpy.empty(1, numpy.int64)
    with tutti.group():
        comm.send(sent, (comm.rank + 1) % comm.size)
        comm.receive(received, (comm.rank - 1) % comm.size)
    assert received[0] == (comm.rank - 1) % comm.size


def unlike_blocks(comm):
    """Rank r has r + 1 elements; all get all (MPI_Allgatherv)."""
    counts = [rank + 1 for rank in range(comm.size)]
    everything = comm.all_gather(numpy.full(comm.rank + 1, comm.rank), numpy.empty(sum(counts), numpy.int64),
                                 counts=counts)
    assert (everything == numpy.repeat(range(comm.size), counts)).all()


def halves(comm):
    """MPI_Comm_split: the even ranks and the odd ones."""
    half = comm.split(color=comm.rank % 2)
    ranks = half.all_reduce(numpy.array([comm.rank]), op="max")
    assert ranks[0] % 2 == comm.rank % 2
    half.close()


def main():
    with tutti.Communicator.from_environment() as comm:
        for part in (scattered_dot_product, ring, unlike_blocks, halves):
            part(comm)
        comm.barrier()
        if comm.rank == 0:
            print(f"{comm.size} ranks: all as it should be")


if __name__ == "__main__":
    main()
