"""The two ways in which the lab says no. Each carries one sentence for the person who called."""


class BadInput(Exception):
    """What was asked for makes no sense: a topology, an event or an argument. Exit status 2."""


class MachineError(Exception):
    """It makes sense, and this machine did not do it. Exit status 1."""


class Interrupted(Exception):
    """SIGINT or SIGTERM. Exit status 128 + signal."""

    def __init__(self, signal_number):
        super().__init__(signal_number)
        self.signal_number = signal_number
