"""One process of the elastic training: elastic.py starts it, kills it, and hears what it says.

The heart is `live`: a training loop whose only concession to failure is one `except`. What makes the curve of a
disturbed run lie on the undisturbed one's is around it: the images of a step depend on the step alone, they are dealt
out anew among whoever is there, and gradients are added as whole numbers, so that the sum does not depend on who added
what. A step counts on all members or on none, because Tutti's sums do.

Each line of standard output is a JSON object: a step that is done (from rank 0), a new view, the end.
"""
import argparse
import hashlib
import json
import os
import pathlib
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "digits"))
from digits import SEED, TEST_IMAGES, Model  # noqa: E402  (sets threads before numpy is loaded)
import numpy  # noqa: E402
from tutti_ctypes import INTERRUPTIONS, ElasticCommunicator, Library, State, TuttiError  # noqa: E402

HIDDEN = 128
BATCH = 96
PIECE = 4  # images whose gradient is computed together, always the same ones: so its bits never change
LEARNING_RATE = 0.02
MOMENTUM = 0.9
ONE = 2.0 ** 32  # what stands for 1 in whole numbers
LOOK_EVERY_S = 0.05


def say(**what):
    print(json.dumps(what), flush=True)


class Training:
    """Weights, velocity and the number of the step: all that a member has to know."""

    def __init__(self, data):
        self.images, self.labels = data["images"], data["labels"]
        self.model = Model(self.images.shape[1], HIDDEN)
        self.velocity = numpy.zeros_like(self.model.weights)
        self.step = 0
        self.sums = numpy.zeros(len(self.model.gradients) + 1, numpy.int64)  # gradients, loss, who waits

    def pieces(self, step):
        """The images of a step, in pieces: a function of the step alone."""
        count = len(self.images) - TEST_IMAGES
        epoch, place = divmod(step, count // BATCH)
        order = numpy.random.default_rng((SEED, epoch)).permutation(count)
        return order[place * BATCH:(place + 1) * BATCH].reshape(-1, PIECE)

    def add_up(self, rank, size):
        """This member's share of the step's pieces, as whole numbers: their sum is exact in any order."""
        pieces = self.pieces(self.step)
        self.sums[:] = 0
        for piece in pieces[rank * len(pieces) // size:(rank + 1) * len(pieces) // size]:
            self.model.add_up_gradients(self.images[piece], self.labels[piece], BATCH)
            self.sums[:-1] += numpy.rint(self.model.gradients * ONE).astype(numpy.int64)

    def take_step(self):
        """The loss."""
        total = self.sums[:-1] / ONE
        self.velocity *= numpy.float32(MOMENTUM)
        self.velocity -= (LEARNING_RATE * total[:-1]).astype(numpy.float32)
        self.model.weights += self.velocity
        self.step += 1
        return float(total[-1])

    def accuracy(self):
        return self.model.accuracy(self.images[-TEST_IMAGES:], self.labels[-TEST_IMAGES:])

    def hash(self):
        return hashlib.blake2b(self.model.weights.tobytes() + self.velocity.tobytes(), digest_size=8).hexdigest()


def take_over(training, state, communicator, is_new, number):
    """Brings everybody to the state of those who were there; who the members are, and what this one has received."""
    mine = numpy.array([number, -1 if is_new else training.step], numpy.int64)
    members = communicator.gather(mine)
    newest = int(members[:, 1].argmax())
    if any(step not in (-1, members[newest, 1]) for step in members[:, 1]):
        raise SystemExit(f"member {number}: survivors are at unlike steps: {members[:, 1].tolist()}")
    report = state.synchronize(communicator, 0 if is_new else training.step + 1)
    training.step = report.revision - 1
    return {"view": members[:, 0].tolist(), "bytes": report.bytes_received}


def live(training, state, communicator, options, is_new):
    """Trains with whoever is there, until the last step, or until this process is asked to leave: whether it stayed."""
    leaving = []
    signal.signal(signal.SIGTERM, lambda *_: leaving.append(True))
    members, looked, change = None, 0.0, {"loss": False, "began": time.monotonic()}
    while training.step < options.steps:
        if leaving and members is not None:
            communicator.leave()
            return False
        try:
            if members is None:
                members = take_over(training, state, communicator, is_new, options.number)
                is_new = False
                say(**members, rank=communicator.rank, step=training.step, hash=training.hash(), **change)
            training.add_up(communicator.rank, communicator.size)
            if communicator.rank == 0 and time.monotonic() - looked > LOOK_EVERY_S:
                looked = time.monotonic()
                training.sums[-1] = communicator.waiting()
            communicator.sum(training.sums)
            somebody_waits = training.sums[-1] > 0
            loss = training.take_step()
            if communicator.rank < 2:  # the first may be killed between a step and its word of it
                say(step=training.step, loss=loss, at=time.monotonic())
            if not somebody_waits:
                continue
            change = {"loss": False, "began": time.monotonic()}
        except TuttiError as error:  # nothing was added anywhere, and the step is done again
            if error.status not in INTERRUPTIONS:
                raise
            change = {"loss": True, "began": time.monotonic(), "why": str(error)}
        members = None
        communicator.refresh()
    return True


def open_files(store):
    """What this process has open. The store stays open as long as the process, and is left out."""
    targets = []
    for name in os.listdir("/proc/self/fd"):
        try:
            targets.append(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:
            continue  # it was for listing the folder
    return len([target for target in targets if not target.startswith(str(store))])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--number", type=int, required=True)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--store", type=pathlib.Path, required=True)
    parser.add_argument("--library", required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--join", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # is for elastic.py
    with numpy.load(options.data) as data:
        training = Training({name: data[name] for name in data})
    library = Library(options.library)
    if options.join:  # a spare: it waits to be asked, with everything loaded
        say(ready=True)
        if not sys.stdin.readline():
            return 0
    files_before = open_files(options.store)
    try:
        communicator = ElasticCommunicator(library, options.join)
        state = State(library, {"weights": training.model.weights, "velocity": training.velocity})
        stays = live(training, state, communicator, options, options.join)
        state.close()
        if not stays:
            say(left=training.step)
            return 0
        communicator.close()
    except TuttiError as error:
        say(failure=str(error))
        return 1
    say(end=training.step, hash=training.hash(), accuracy=training.accuracy(),
        files=open_files(options.store) - files_before)
    return 0


if __name__ == "__main__":
    sys.exit(main())
