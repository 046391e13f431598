"""As much of Tutti's C API as the example needs, by ctypes, on NumPy arrays."""
import ctypes
import os
import pathlib

import numpy

DATATYPES = {"int32": 4, "uint32": 5, "int64": 6, "uint64": 7, "float32": 10, "float64": 11}
SUM = 0


# What ends the operations of an elastic communicator when its members change.
INTERRUPTIONS = ("TUTTI_TIMEOUT", "TUTTI_PEER_LOST", "TUTTI_ABORTED")


class TuttiError(Exception):
    """What a call returned that was not TUTTI_OK, with the library's sentence."""

    def __init__(self, status, sentence):
        super().__init__(f"{status}: {sentence}")
        self.status = status


def find_library():
    """TUTTI_LIBRARY, else the newest build in this source tree, else the system's."""
    if os.environ.get("TUTTI_LIBRARY"):
        return os.environ["TUTTI_LIBRARY"]
    root = pathlib.Path(__file__).resolve().parents[2]
    built = sorted(root.glob("build/*/lib/libtutti.so"), key=lambda path: path.stat().st_mtime)
    return str(built[-1]) if built else "libtutti.so"


class Library:
    def __init__(self, path):
        self.c = ctypes.CDLL(path)
        for name in ("tutti_status_name", "tutti_last_error"):
            getattr(self.c, name).restype = ctypes.c_char_p
        data, size, handle = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p
        self.c.tutti_all_reduce.argtypes = [data, data, size, ctypes.c_int, ctypes.c_int, handle, data, data]
        self.c.tutti_all_gather.argtypes = [data, data, size, ctypes.c_int, handle, data, data]
        self.c.tutti_comm_join.argtypes = [data, ctypes.c_char_p, data]
        self.c.tutti_comm_refresh.argtypes = [handle, data]
        self.c.tutti_state_create.argtypes = [data, ctypes.c_char_p]
        self.c.tutti_state_add.argtypes = [handle, ctypes.c_char_p, data, size, ctypes.c_int]
        self.c.tutti_state_set_revision.argtypes = [handle, ctypes.c_uint64]
        self.c.tutti_state_synchronize.argtypes = [handle, handle, data, data]
        self.c.tutti_state_destroy.argtypes = [handle]
        self.c.tutti_comm_leave.argtypes = [handle, ctypes.c_int64]
        self.c.tutti_comm_finalize.argtypes = [handle, ctypes.c_int64]
        self.c.tutti_comm_destroy.argtypes = [handle]

    def check(self, status):
        if status != 0:
            raise TuttiError(self.c.tutti_status_name(status).decode(), self.c.tutti_last_error().decode())


class Communicator:
    """All ranks of the job; rank, size and the way to the others come from the environment."""

    def __init__(self, library):
        self.library = library
        self.handle = ctypes.c_void_p()
        self._begin()
        self._look()

    def _begin(self):
        self.library.check(self.library.c.tutti_comm_create_from_environment(ctypes.byref(self.handle), None))

    def _look(self):
        rank, size = ctypes.c_int(), ctypes.c_int()
        self.library.check(self.library.c.tutti_comm_rank(self.handle, ctypes.byref(rank)))
        self.library.check(self.library.c.tutti_comm_size(self.handle, ctypes.byref(size)))
        self.rank, self.size = rank.value, size.value

    def sum(self, array):
        """Replaces the array on every rank by the sum of all ranks' arrays."""
        self.library.check(self.library.c.tutti_all_reduce(
            self._pointer(array), self._pointer(array), array.size, DATATYPES[array.dtype.name], SUM, self.handle,
            None, None))

    def gather(self, array):
        """Every rank's array, stacked by rank."""
        gathered = numpy.empty((self.size, *array.shape), array.dtype)
        self.library.check(self.library.c.tutti_all_gather(
            self._pointer(array), self._pointer(gathered), array.size, DATATYPES[array.dtype.name], self.handle,
            None, None))
        return gathered

    def close(self):
        self.library.check(self.library.c.tutti_comm_finalize(self.handle, 0))
        self.library.c.tutti_comm_destroy(self.handle)

    @staticmethod
    def _pointer(array):
        if not array.flags.c_contiguous:
            raise ValueError("Tutti needs the elements of an array one after another")
        return array.ctypes.data


class ElasticCommunicator(Communicator):
    """One that outlives its members (TUTTI_ELASTIC=on). `joins`: it is there already, and this process wants in."""

    def __init__(self, library, joins):
        self.joins = joins
        super().__init__(library)

    def _begin(self):
        if self.joins:
            self.library.check(self.library.c.tutti_comm_join(ctypes.byref(self.handle), None, None))
        else:
            super()._begin()

    def refresh(self):
        """Goes on with those who are left and those who wait; rank and size are new."""
        self.library.check(self.library.c.tutti_comm_refresh(self.handle, None))
        self._look()

    def leave(self):
        """Goes; the others go on. Nothing may be called afterwards."""
        self.library.check(self.library.c.tutti_comm_leave(self.handle, 0))

    def waiting(self):
        """How many processes wait to join."""
        count = ctypes.c_int()
        self.library.check(self.library.c.tutti_comm_waiting(self.handle, ctypes.byref(count)))
        return count.value


class StateOptions(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("timeout_ns", ctypes.c_int64), ("strict", ctypes.c_int)]


class StateReport(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("revision", ctypes.c_uint64), ("bytes_received", ctypes.c_uint64),
                ("bytes_sent", ctypes.c_uint64), ("senders", ctypes.c_int), ("receivers", ctypes.c_int)]


class State:
    """Arrays that are to have the same bits on every rank, by name, and a revision: 0 in who has nothing yet."""

    def __init__(self, library, arrays):
        self.library = library
        self.handle = ctypes.c_void_p()
        library.check(library.c.tutti_state_create(ctypes.byref(self.handle), None))
        for name, array in arrays.items():
            library.check(library.c.tutti_state_add(self.handle, name.encode(), array.ctypes.data, array.size,
                                                    DATATYPES[array.dtype.name]))

    def synchronize(self, communicator, revision):
        """Brings all ranks to the newest revision; what that took. Ranks that have it must have the same bits."""
        self.library.check(self.library.c.tutti_state_set_revision(self.handle, revision))
        options = StateOptions(ctypes.sizeof(StateOptions), 0, 1)
        report = StateReport(ctypes.sizeof(StateReport))
        self.library.check(self.library.c.tutti_state_synchronize(
            self.handle, communicator.handle, ctypes.byref(options), ctypes.byref(report)))
        return report

    def close(self):
        self.library.check(self.library.c.tutti_state_destroy(self.handle))
