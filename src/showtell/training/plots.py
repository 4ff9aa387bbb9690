"""Pictures of training runs, fit for a paper: curves, lengths and words, runs side by side."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from showtell.files.atomic_write import output_file
from showtell.training.dev_captions import Said
from showtell.training.history import Curve, History, read_history
from showtell.vocabulary import tokenize

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

By = Literal["epochs", "minutes"]
SUFFIXES = (".png", ".svg", ".pdf")
WORDS = 24  # most-used words that are shown
# Okabe and Ito, Color Universal Design, 2008: told apart by colour-blind readers too
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_PEOPLE = "#444444"
_STYLES = ("-", "--", "-.", ":")
_TITLES = {
    "loss": "Training loss (nats a word)",
    "learning_rate": "Learning rate",
    "reward": "Reward of sampled captions",
    "cider": "CIDEr on dev",
}
_STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "svg.hashsalt": "showtell",  # the same run draws the same file
    "pdf.fonttype": 42,
}
_WIDE, _TALL = 7.2, 2.1  # inches: a page's text width, a row of panels
_DOTS = 300  # an inch, of PNG

Draw = Callable[["Axes"], None]


def plot(runs: Sequence[Path], output: Path, *, by: By = "epochs") -> tuple[Path, ...]:
    """Draw the runs' logs into one picture and return the files written.

    `output` ends in .png, .svg or .pdf; without such an end it is written as PNG and as SVG.
    Raises TrainingError where a run has no log.
    """
    import matplotlib

    histories = [read_history(run) for run in runs]
    if output.suffix.lower() in SUFFIXES:
        files: tuple[Path, ...] = (output,)
    else:
        files = tuple(output.with_name(output.name + suffix) for suffix in (".png", ".svg"))
    with matplotlib.rc_context(_STYLE):
        figure = draw(histories, by)
        for file in files:
            form = file.suffix.lower().lstrip(".")
            undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(form, {})
            with output_file(file, binary=True) as opened:
                figure.savefig(opened, format=form, dpi=_DOTS, metadata=undated)
    return files


def draw(histories: Sequence[History], by: By) -> Figure:
    """Draw panels of all that the runs logged, a colour for each run."""
    from matplotlib.figure import Figure

    panels: list[tuple[str, Draw]] = []
    for key in ("loss", "reward", "learning_rate"):
        if any(key in history.steps for history in histories):
            panels.append((_TITLES[key], _curves(histories, key, by)))
    for key in sorted({name for history in histories for name in history.scores}):
        panels.append((_TITLES.get(key, f"{key} on dev"), _scores(histories, key, by)))
    rows: list[list[tuple[str, Draw]]] = []
    said = any(history.said.epochs for history in histories)
    if said:
        panels.append(("Mean length of captions", _mean_lengths(histories, by)))
    while panels:
        size = 2 if len(panels) in (2, 4) else 3
        rows.append(panels[:size])
        panels = panels[size:]
    if said:
        last = [("Lengths of captions", _lengths(histories)), ("Words", _words(histories))]
        rows.append(last)
    figure = Figure(figsize=(_WIDE, len(rows) * _TALL + 0.35), layout="constrained")
    grid = figure.add_gridspec(len(rows), 6)
    for number, row in enumerate(rows):
        left = 0
        for title, draw_panel in row:
            across = 4 if title == "Words" else 2 if said and row is rows[-1] else 6 // len(row)
            axes = figure.add_subplot(grid[number, left : left + across])
            axes.set_title(title)
            draw_panel(axes)
            left += across
    people = any(history.said.references for history in histories)
    _legend(figure, _names(histories), people=people)
    return figure


def _names(histories: Sequence[History]) -> list[str]:
    """Return the runs' names, told apart where two folders have the same."""
    count = Counter(history.name for history in histories)
    seen: Counter[str] = Counter()
    names = []
    for history in histories:
        seen[history.name] += 1
        again = count[history.name] > 1
        names.append(f"{history.name} ({seen[history.name]})" if again else history.name)
    return names


def _look(number: int) -> dict[str, Any]:
    style = _STYLES[number // len(COLOURS) % len(_STYLES)]
    return {"color": COLOURS[number % len(COLOURS)], "linestyle": style}


def _along(curve: Curve, by: By) -> list[float]:
    return curve.epochs if by == "epochs" else curve.minutes


def _curves(histories: Sequence[History], key: str, by: By) -> Draw:
    def draw_panel(axes: Axes) -> None:
        for number, history in enumerate(histories):
            curve = history.steps.get(key)
            if curve is None:
                continue
            colour = COLOURS[number % len(COLOURS)]
            for stage in _parted(curve, history.stages):
                across = _along(stage, by)
                if key == "learning_rate":
                    axes.plot(across, stage.values, **_look(number))
                    continue
                axes.plot(across, stage.values, color=colour, alpha=0.25, linewidth=0.7)
                axes.plot(across, _smooth(stage.values), **_look(number))
        if key == "learning_rate":
            axes.yaxis.set_major_formatter("{x:g}")
        _finish(axes, histories, by)

    return draw_panel


def _scores(histories: Sequence[History], key: str, by: By) -> Draw:
    def draw_panel(axes: Axes) -> None:
        for number, history in enumerate(histories):
            curve = history.scores.get(key)
            if curve is None:
                continue
            across = _along(curve, by)
            axes.plot(across, curve.values, marker="o", markersize=2.5, **_look(number))
            best = max(range(len(curve.values)), key=curve.values.__getitem__)
            axes.annotate(
                f"{curve.values[best]:.1f}",
                (across[best], curve.values[best]),
                (0, 4),
                textcoords="offset points",
                ha="center",
                fontsize=7,
                color=COLOURS[number % len(COLOURS)],
            )
        axes.margins(y=0.15)
        _finish(axes, histories, by)

    return draw_panel


def _finish(axes: Axes, histories: Sequence[History], by: By) -> None:
    axes.set_xlabel("epoch" if by == "epochs" else "minutes")
    if by == "epochs" and len(histories) == 1:
        for begin in histories[0].stages:
            axes.axvline(begin, color="#999999", linewidth=0.8, linestyle=":", zorder=0)


def _parted(curve: Curve, stages: Sequence[int]) -> list[Curve]:
    """Part a curve at the epochs at which stages begin: what they measure may differ."""
    parts = []
    for low, high in zip((0, *stages), (*stages, math.inf), strict=True):
        rows = [row for row, epoch in enumerate(curve.epochs) if low <= epoch < high]
        if rows:
            part = slice(rows[0], rows[-1] + 1)
            parts.append(Curve(curve.epochs[part], curve.minutes[part], curve.values[part]))
    return parts


def _smooth(values: Sequence[float], share: float = 0.15) -> list[float]:
    """Return the moving average, over a window of `share` of the values, centred."""
    half = max(1, round(len(values) * share / 2))
    windows = (values[max(0, i - half) : i + half + 1] for i in range(len(values)))
    return [sum(window) / len(window) for window in windows]


def _last(said: Said) -> list[list[str]]:
    return [tokenize(text) for text in said.epochs[-1].captions] if said.epochs else []


def _people(said: Said) -> list[list[str]]:
    return [tokenize(text) for texts in said.references for text in texts]


def _lengths(histories: Sequence[History]) -> Draw:
    def draw_panel(axes: Axes) -> None:
        people = _lengths_of(_people(_fullest(histories)))
        axes.bar(list(people), list(people.values()), width=0.9, color="#D8D8D8")
        for number, history in enumerate(histories):
            shares = _lengths_of(_last(history.said))
            across = range(min(shares, default=0), max(shares, default=0) + 1)
            values = [shares.get(length, 0.0) for length in across]
            axes.plot(list(across), values, marker="o", markersize=2.5, **_look(number))
        axes.set_xlabel("words")
        axes.set_ylabel("% of captions")

    return draw_panel


def _lengths_of(captions: Iterable[Sequence[str]]) -> dict[int, float]:
    """Return the share of captions (%) of each length."""
    counts = Counter(len(caption) for caption in captions)
    whole = max(1, counts.total())
    return {length: 100 * counts[length] / whole for length in sorted(counts)}


def _mean_lengths(histories: Sequence[History], by: By) -> Draw:
    def draw_panel(axes: Axes) -> None:
        people = [len(caption) for caption in _people(_fullest(histories))]
        axes.axhline(sum(people) / max(1, len(people)), color=_PEOPLE, linewidth=1)
        for number, history in enumerate(histories):
            means = [
                sum(len(tokenize(text)) for text in said.captions) / max(1, len(said.captions))
                for said in history.said.epochs
            ]
            curve = next(iter(history.scores.values()), Curve())
            # of a killed run, captions may be there whose line of the log is not
            count = min(len(means), len(curve.values))
            across = _along(curve, by)[:count]
            axes.plot(across, means[:count], marker="o", markersize=2.5, **_look(number))
        axes.margins(y=0.15)
        axes.set_ylabel("words")
        _finish(axes, histories, by)

    return draw_panel


def _words(histories: Sequence[History]) -> Draw:
    def draw_panel(axes: Axes) -> None:
        people = _frequencies(_people(_fullest(histories)))
        runs = [_frequencies(_last(history.said)) for history in histories]
        said = {word for shares in (people, *runs) for word in shares}
        most = {word: max(shares[word] for shares in (people, *runs)) for word in sorted(said)}
        used = sorted(most, key=lambda word: -most[word])[:WORDS]
        shown = sorted(used, key=lambda word: -people[word])
        places = list(range(len(shown)))
        axes.bar(places, [people[word] for word in shown], width=0.75, color="#D8D8D8")
        for number, shares in enumerate(runs):
            axes.plot(
                places,
                [shares[word] for word in shown],
                linestyle="none",
                marker="os^Dv<"[number % 6],
                markersize=3,
                color=COLOURS[number % len(COLOURS)],
            )
        axes.set_xticks(places, shown, rotation=60, ha="right", rotation_mode="anchor")
        axes.tick_params(axis="x", length=0)
        axes.grid(visible=False, axis="x")
        axes.set_ylabel("% of all words")

    return draw_panel


def _frequencies(captions: Iterable[Sequence[str]]) -> defaultdict[str, float]:
    """Return each word's share of all words (%), 0 for others."""
    counts = Counter(word for caption in captions for word in caption)
    whole = max(1, counts.total())
    return defaultdict(float, {word: 100 * count / whole for word, count in counts.items()})


def _fullest(histories: Sequence[History]) -> Said:
    """Return what was said of the most photos: runs may differ in how many they kept."""
    return max((history.said for history in histories), key=lambda said: len(said.references))


def _legend(figure: Figure, names: Sequence[str], *, people: bool) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    entries: list[Line2D | Patch] = [
        Line2D([], [], label=name, **_look(number)) for number, name in enumerate(names)
    ]
    if people:
        entries.append(Patch(color="#D8D8D8", label="people"))
    figure.legend(handles=entries, loc="outside upper left", ncols=min(6, len(entries)))
