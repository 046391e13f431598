"""What ends perf/peers/run, and perf/record."""


class Trouble(Exception):
    """Something is missing or wrong that the caller has to put right; the text is for people."""
