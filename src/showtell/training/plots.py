"""Pictures of training runs, ready for a paper: curves, caption lengths and words."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from showtell.files.atomic_write import output_file
from showtell.training.history import Curve, History, read_history

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

By = Literal["epochs", "minutes"]
PLOT_SUFFIXES = (".png", ".svg", ".pdf")
_WORDS = 24  # most-used words in the picture
# Okabe and Ito, Color Universal Design, 2008: distinct for colour-blind readers, too
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_PEOPLE = "#444444"
_STYLES = ("-", "--", "-.", ":")
_TITLES = {
    "loss": "Training loss (nats per word)",
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
    "svg.hashsalt": "showtell",  # the same run gives the same file
    "pdf.fonttype": 42,
}
_WIDTH, _ROW_HEIGHT = 7.2, 2.1  # inches; the width of text on a page
_DPI = 300  # of PNG files

Draw = Callable[["Axes"], None]


def plot_runs(runs: Sequence[Path], output: Path, *, by: By = "epochs") -> tuple[Path, ...]:
    """Draw the logs of runs into one picture and return the files written.

    `output` ends in .png, .svg or .pdf; with another suffix, a PNG and an SVG file are written.
    Raises TrainingError where a run has no log.
    """
    import matplotlib

    histories = [read_history(run) for run in runs]
    if output.suffix.lower() in PLOT_SUFFIXES:
        files: tuple[Path, ...] = (output,)
    else:
        files = tuple(output.with_name(output.name + suffix) for suffix in (".png", ".svg"))
    with matplotlib.rc_context(_STYLE):
        figure = draw(histories, by)
        for file in files:
            form = file.suffix.lower().lstrip(".")
            undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(form, {})
            with output_file(file, binary=True) as opened:
                figure.savefig(opened, format=form, dpi=_DPI, metadata=undated)
    return files


def draw(histories: Sequence[History], by: By) -> Figure:
    """Draw a panel for each logged value, with a colour for each run."""
    from matplotlib.figure import Figure

    panels: list[tuple[str, Draw]] = []
    for key in ("loss", "reward", "learning_rate"):
        if any(key in history.steps for history in histories):
            panels.append((_TITLES[key], _curves(histories, key, by)))
    for key in sorted({name for history in histories for name in history.scores}):
        panels.append((_TITLES.get(key, f"{key} on dev"), _scores(histories, key, by)))
    rows: list[list[tuple[str, Draw]]] = []
    has_captions = any(history.dev_captions.epochs for history in histories)
    if has_captions:
        panels.append(("Mean length of captions", _mean_lengths(histories, by)))
    while panels:
        size = 2 if len(panels) in (2, 4) else 3
        rows.append(panels[:size])
        panels = panels[size:]
    if has_captions:
        last = [("Lengths of captions", _lengths(histories)), ("Words", _words(histories))]
        rows.append(last)
    figure = Figure(figsize=(_WIDTH, len(rows) * _ROW_HEIGHT + 0.35), layout="constrained")
    grid = figure.add_gridspec(len(rows), 6)
    for number, row in enumerate(rows):
        left = 0
        for title, draw_panel in row:
            columns = 6 // len(row)
            if has_captions and row is rows[-1]:
                columns = 4 if title == "Words" else 2
            axes = figure.add_subplot(grid[number, left : left + columns])
            axes.set_title(title)
            draw_panel(axes)
            left += columns
    people = any(history.dev_captions.references for history in histories)
    _legend(figure, _names(histories), people=people)
    return figure


def _names(histories: Sequence[History]) -> list[str]:
    """Return the names of runs, numbered where folders have the same name."""
    count = Counter(history.name for history in histories)
    seen: Counter[str] = Counter()
    names = []
    for history in histories:
        seen[history.name] += 1
        repeated = count[history.name] > 1
        names.append(f"{history.name} ({seen[history.name]})" if repeated else history.name)
    return names


def _line_style(number: int) -> dict[str, Any]:
    style = _STYLES[number // len(_COLOURS) % len(_STYLES)]
    return {"color": _COLOURS[number % len(_COLOURS)], "linestyle": style}


def _x_values(curve: Curve, by: By) -> list[float]:
    return curve.epochs if by == "epochs" else curve.minutes


def _curves(histories: Sequence[History], key: str, by: By) -> Draw:
    def draw_panel(axes: Axes) -> None:
        for number, history in enumerate(histories):
            curve = history.steps.get(key)
            if curve is None:
                continue
            colour = _COLOURS[number % len(_COLOURS)]
            for stage in _split_by_stage(curve, history.stages):
                x = _x_values(stage, by)
                if key == "learning_rate":
                    axes.plot(x, stage.values, **_line_style(number))
                    continue
                axes.plot(x, stage.values, color=colour, alpha=0.25, linewidth=0.7)
                axes.plot(x, _smooth(stage.values), **_line_style(number))
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
            x = _x_values(curve, by)
            axes.plot(x, curve.values, marker="o", markersize=2.5, **_line_style(number))
            best = max(range(len(curve.values)), key=curve.values.__getitem__)
            axes.annotate(
                f"{curve.values[best]:.1f}",
                (x[best], curve.values[best]),
                (0, 4),
                textcoords="offset points",
                ha="center",
                fontsize=7,
                color=_COLOURS[number % len(_COLOURS)],
            )
        axes.margins(y=0.15)
        _finish(axes, histories, by)

    return draw_panel


def _finish(axes: Axes, histories: Sequence[History], by: By) -> None:
    axes.set_xlabel("epoch" if by == "epochs" else "minutes")
    if by == "epochs" and len(histories) == 1:
        for epoch in histories[0].stages:
            axes.axvline(epoch, color="#999999", linewidth=0.8, linestyle=":", zorder=0)


def _split_by_stage(curve: Curve, stages: Sequence[int]) -> list[Curve]:
    """Split a curve at the starts of stages, because stages may measure different quantities."""
    parts = []
    for low, high in zip((0, *stages), (*stages, math.inf), strict=True):
        rows = [row for row, epoch in enumerate(curve.epochs) if low <= epoch < high]
        if rows:
            part = slice(rows[0], rows[-1] + 1)
            parts.append(Curve(curve.epochs[part], curve.minutes[part], curve.values[part]))
    return parts


def _smooth(values: Sequence[float], share: float = 0.15) -> list[float]:
    """Return the centred moving average over a window of `share` of the values."""
    half = max(1, round(len(values) * share / 2))
    windows = (values[max(0, i - half) : i + half + 1] for i in range(len(values)))
    return [sum(window) / len(window) for window in windows]


def _last_captions(history: History) -> list[list[str]]:
    epochs = history.dev_captions.epochs
    return [history.language.words(text) for text in epochs[-1].captions] if epochs else []


def _references(histories: Sequence[History]) -> list[list[str]]:
    """Return the words of the references of the run with the most dev photos."""
    history = max(histories, key=lambda history: len(history.dev_captions.references))
    references = history.dev_captions.references
    return [history.language.words(text) for texts in references for text in texts]


def _lengths(histories: Sequence[History]) -> Draw:
    def draw_panel(axes: Axes) -> None:
        people = _lengths_of(_references(histories))
        axes.bar(list(people), list(people.values()), width=0.9, color="#D8D8D8")
        for number, history in enumerate(histories):
            shares = _lengths_of(_last_captions(history))
            x = range(min(shares, default=0), max(shares, default=0) + 1)
            values = [shares.get(length, 0.0) for length in x]
            axes.plot(list(x), values, marker="o", markersize=2.5, **_line_style(number))
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
        people = [len(caption) for caption in _references(histories)]
        axes.axhline(sum(people) / max(1, len(people)), color=_PEOPLE, linewidth=1)
        for number, history in enumerate(histories):
            means = [
                sum(len(history.language.words(text)) for text in epoch.captions)
                / max(1, len(epoch.captions))
                for epoch in history.dev_captions.epochs
            ]
            curve = next(iter(history.scores.values()), Curve())
            # a killed run may have captions of an epoch that is not in its log
            count = min(len(means), len(curve.values))
            x = _x_values(curve, by)[:count]
            axes.plot(x, means[:count], marker="o", markersize=2.5, **_line_style(number))
        axes.margins(y=0.15)
        axes.set_ylabel("words")
        _finish(axes, histories, by)

    return draw_panel


def _words(histories: Sequence[History]) -> Draw:
    def draw_panel(axes: Axes) -> None:
        people = _frequencies(_references(histories))
        runs = [_frequencies(_last_captions(history)) for history in histories]
        words = {word for shares in (people, *runs) for word in shares}
        highest = {word: max(shares[word] for shares in (people, *runs)) for word in sorted(words)}
        most_used = sorted(highest, key=lambda word: -highest[word])[:_WORDS]
        shown = sorted(most_used, key=lambda word: -people[word])
        positions = list(range(len(shown)))
        axes.bar(positions, [people[word] for word in shown], width=0.75, color="#D8D8D8")
        for number, shares in enumerate(runs):
            axes.plot(
                positions,
                [shares[word] for word in shown],
                linestyle="none",
                marker="os^Dv<"[number % 6],
                markersize=3,
                color=_COLOURS[number % len(_COLOURS)],
            )
        axes.set_xticks(positions, shown, rotation=60, ha="right", rotation_mode="anchor")
        axes.tick_params(axis="x", length=0)
        axes.grid(visible=False, axis="x")
        axes.set_ylabel("% of all words")

    return draw_panel


def _frequencies(captions: Iterable[Sequence[str]]) -> defaultdict[str, float]:
    """Return each word's share of all words (%), 0 for others."""
    counts = Counter(word for caption in captions for word in caption)
    whole = max(1, counts.total())
    return defaultdict(float, {word: 100 * count / whole for word, count in counts.items()})


def _legend(figure: Figure, names: Sequence[str], *, people: bool) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    entries: list[Line2D | Patch] = [
        Line2D([], [], label=name, **_line_style(number)) for number, name in enumerate(names)
    ]
    if people:
        entries.append(Patch(color="#D8D8D8", label="people"))
    figure.legend(handles=entries, loc="outside upper left", ncols=min(6, len(entries)))
