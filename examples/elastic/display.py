"""What is seen while a job runs: one live line where there is a terminal, else a line for each thing that happens."""
import sys
import time

BARS = "▁▂▃▄▅▆▇█"
COLOURS = {"kill": "red", "leave": "yellow", "left": "yellow", "join": "blue", "joined": "green", "recovery": "green"}
PLAIN_EVERY_S = 2.0


def sparkline(losses, width=24):
    """The losses so far, from the first to the last, as a line of bars."""
    steps = sorted(losses)
    if not steps:
        return ""
    chosen = [losses[steps[i * (len(steps) - 1) // (width - 1)]] for i in range(width)]
    top = max(chosen)
    return "".join(BARS[round(loss / top * (len(BARS) - 1))] for loss in chosen)


def numbers(job):
    result = job.result
    loss = result.losses.get(job.step)
    worst = f", worst {1000 * max(result.recoveries_s):.0f} ms" if result.recoveries_s else ""
    return (f"step {job.step:>4} of {job.options.steps}  loss {'-' if loss is None else f'{loss:.4f}':>6}  "
            f"{len(job.view):>2} members", f"{result.count('kill')} killed, {result.count('leave')} left, "
                                           f"{result.joined} joined, {len(result.recoveries_s)} recoveries{worst}")


class Plain:
    def __init__(self, name):
        self.name = name
        self.shown = 0.0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def update(self, job):
        if job.view and time.monotonic() - self.shown > PLAIN_EVERY_S:
            self.shown = time.monotonic()
            print(f"{self.name}: {'  '.join(numbers(job))}", flush=True)

    def event(self, job, _, sentence):
        print(f"{self.name}: step {job.step:>4}: {sentence}", flush=True)


class Live:
    """By rich: events scroll by above one line that stays."""

    def __init__(self, name):
        from rich.live import Live as RichLive
        from rich.text import Text

        self.name = name
        self.text = Text
        self.live = RichLive(refresh_per_second=12)
        self.redraw_at = 0.0

    def __enter__(self):
        self.live.__enter__()
        return self

    def __exit__(self, *about):
        self.live.__exit__(*about)

    def update(self, job):
        if time.monotonic() < self.redraw_at:
            return
        self.redraw_at = time.monotonic() + 0.08
        state, counts = numbers(job)
        line = self.text(f"{self.name}  ", style="bold")
        line.append("● " * len(job.view), style="green")
        line.append(f" {state}  ")
        line.append(sparkline(job.result.losses), style="cyan")
        line.append(f"  {counts}")
        self.live.update(line)

    def event(self, job, kind, sentence):
        self.live.console.print(self.text(f"  step {job.step:>4}: {sentence}", style=COLOURS[kind]))


def display(name):
    return Live(name) if sys.stdout.isatty() else Plain(name)
