"""The picture of the two trainings: their losses over each other, and below who was there."""
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
import numpy  # noqa: E402

INK, PALE, LINE = "#1b1b1b", "#f2b134", "#1f5fa8"
MARKS = {"kill": ("x", "#c62828", "a process is killed"), "leave": ("v", "#ef6c00", "leaves"),
         "join": ("^", "#2e7d32", "joins")}
HEIGHTS = {"kill": 0.4, "leave": 1.2, "join": 2.0}  # of the marks, below the top
MEAN_OVER = 15  # steps: an epoch


def smooth(losses, steps):
    """The mean of the last epoch, at each step."""
    values = numpy.array([losses[step] for step in range(1, steps + 1)])
    sums = numpy.cumsum(numpy.insert(values, 0, 0.0))
    ends = numpy.arange(1, steps + 1)
    begins = numpy.maximum(0, ends - MEAN_OVER)
    return ends, (sums[ends] - sums[begins]) / (ends - begins)


def draw(calm, churned, options):
    """The files that were written."""
    plt.rcParams.update({"font.size": 10, "font.family": "DejaVu Sans", "svg.hashsalt": "tutti"})
    figure, (upper, lower) = plt.subplots(2, 1, figsize=(9, 5.6), sharex=True, height_ratios=(3, 1.25),
                                          layout="constrained")
    upper.plot(*smooth(calm.losses, options.steps), color=PALE, linewidth=6, solid_capstyle="round",
               label=f"undisturbed: {options.processes} processes")
    upper.plot(*smooth(churned.losses, options.steps), color=LINE, linewidth=1.6,
               label=f"disturbed: {churned.count('kill')} killed, {churned.count('leave')} left, "
                     f"{churned.joined} joined")
    upper.set_yscale("log")
    upper.yaxis.set_major_formatter("{x:g}")
    upper.set_ylabel("loss (mean of the last epoch)")
    upper.legend(loc="upper right", frameon=False)
    difference = max(abs(calm.losses[step] - churned.losses[step]) for step in calm.losses)
    same = "the same model, to the last bit" if difference == 0 else f"losses differ by up to {difference:.0e}"
    upper.set_title(f"A network learns to read digits, twice: {same}", loc="left", color=INK, fontweight="bold")

    steps = [step for step, _ in churned.sizes] + [options.steps]
    sizes = [size for _, size in churned.sizes]
    lower.step(steps, sizes + sizes[-1:], where="post", color=LINE, linewidth=1.6)
    lower.fill_between(steps, sizes + sizes[-1:], step="post", color=LINE, alpha=0.12)
    top = max(sizes) + 2.8
    for kind, (mark, colour, label) in MARKS.items():
        at = [step for step, what in churned.events if what == kind]
        lower.plot(at, [top - HEIGHTS[kind]] * len(at), mark, color=colour, markersize=6, label=label, clip_on=False)
        for axes in (upper, lower):
            for step in at:
                axes.axvline(step, color=colour, linewidth=0.5, alpha=0.25, zorder=0)
    lower.set_ylim(0, top)
    lower.set_yticks(range(0, max(sizes) + 1, 4 if max(sizes) > 6 else 2))
    lower.set_ylabel("members")
    lower.set_xlabel("step (96 images each)")
    lower.set_xlim(0, options.steps)
    lower.legend(loc="lower left", frameon=False, ncols=2, bbox_to_anchor=(0, -0.02))
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)

    options.output.mkdir(parents=True, exist_ok=True)
    paths = [options.output / "elastic.svg", options.output / "elastic.png"]
    figure.savefig(paths[0], metadata={"Date": None})
    figure.savefig(paths[1], dpi=144)
    return paths
