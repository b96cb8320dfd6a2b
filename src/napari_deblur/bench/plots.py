"""Results as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["drawn"]

COLOURS = {"ours": "#1b6ca8", "floor": "#b9c2cb", "plain": "#8a97a3", "other": "#d98b3a"}
SAYS = {"ours": "napari-deblur", "floor": "transforms alone", "plain": "written plainly",
        "other": "other packages"}  # fmt: skip
LINES = ("#8a97a3", "#1b6ca8", "#2a9d8f", "#7b5ea7", "#c8553d", "#d4a017", "#d98b3a")
INK = "#333333"


def drawn(result: dict[str, Any], path: Path) -> None:
    """Draw a result into a PNG file; nothing is drawn when there is nothing to compare."""
    draw = {"speed": _speed, "memory": _memory, "quality": _quality}[result["benchmark"]]
    figure = draw(result)
    if figure is not None:
        figure.savefig(path, dpi=160, facecolor="white", metadata={"Software": None})


def _speed(result: dict[str, Any]) -> Figure | None:
    there = [row for row in result["rows"] if "over floor" in row]
    shapes = list(dict.fromkeys(tuple(row["shape"]) for row in there))
    if not shapes:
        return None
    many = [len([r for r in there if tuple(r["shape"]) == shape]) for shape in shapes]
    figure, axes = _panels(many, 8.0)
    for ax, shape in zip(axes, shapes, strict=True):
        rows = [row for row in there if tuple(row["shape"]) == shape]
        _bars(ax, rows, "over floor", log=True)
        kernel = "×".join(map(str, rows[0]["kernel"]))
        ax.set_title(f"{'×'.join(map(str, shape))}, kernel {kernel}", **_title())
    axes[-1].set_xlabel("time of one iteration ÷ four transforms in place (less is better)")
    _legend(figure, axes[0], [row["kind"] for row in there])
    return figure


def _memory(result: dict[str, Any]) -> Figure | None:
    rows = [row for row in result["rows"] if "arrays" in row]
    if not rows:
        return None
    figure, axes = _panels([len(rows)], 8.0)
    _bars(axes[0], rows, "arrays", log=False)
    axes[0].set_title(f"{'×'.join(map(str, result['shape']))}", **_title())
    axes[0].set_xlabel("peak memory ÷ one padded float32 array (less is better)")
    _legend(figure, axes[0], [row["kind"] for row in rows])
    return figure


def _bars(ax: Axes, rows: Sequence[dict[str, Any]], key: str, *, log: bool) -> None:
    """Draw a bar for each row with its quartiles, the shortest on top."""
    rows = sorted(rows, key=lambda row: row[key]["median"], reverse=True)
    middle = [row[key]["median"] for row in rows]
    reach = [
        [row[key]["median"] - row[key]["low"] for row in rows],
        [row[key]["high"] - row[key]["median"] for row in rows],
    ]
    colours = [COLOURS[row["kind"]] for row in rows]
    ax.barh([row["label"] for row in rows], middle, color=colours, height=0.72, zorder=2)
    ax.errorbar(
        middle, range(len(rows)), xerr=reach, fmt="none", ecolor=INK, elinewidth=1, zorder=3
    )
    if log:
        ax.set_xscale("log")
        low = min(0.8, 0.8 * min(middle))
        ax.set_xlim(low, 2.2 * max(row[key]["high"] for row in rows))
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.xaxis.set_minor_formatter(lambda value, _: "")
    else:
        ax.set_xlim(0, 1.12 * max(row[key]["high"] for row in rows))
    for place, row in enumerate(rows):
        ax.annotate(
            f"{row[key]['median']:.3g}",
            (row[key]["high"], place),
            (5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=INK,
        )
    ax.grid(axis="x", color="#e6e9ec", zorder=0)
    ax.tick_params(axis="y", length=0)
    _bare(ax, "top", "right", "left")


def _quality(result: dict[str, Any]) -> Figure | None:
    rows = result.get("time", [])
    if not rows:
        return _losses(result)
    from matplotlib.figure import Figure

    across = min(len(rows), 2)
    down = -(-len(rows) // across)
    figure = Figure(figsize=(5.2 * across, 3.6 * down + 0.7), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False)
    for ax in grid.ravel()[len(rows) :]:
        ax.remove()
    for ax, row in zip(grid.ravel(), rows, strict=False):
        _curves(ax, row)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=3 * across, frameon=False, fontsize=8
    )
    return figure


def _curves(ax: Axes, row: dict[str, Any]) -> None:
    """Draw quality against time, for each method up to a little beyond its best."""
    for colour, (name, found) in zip(LINES, row["methods"].items(), strict=False):
        each = found.get("seconds per iteration")
        if not each or name == "richardson-lucy at its pace":
            continue
        curve = found["curve"]
        seconds = [each * n for n in curve["iterations"]]
        wide = 2.2 if name not in ("richardson-lucy", "scikit-image") else 1.5
        ax.plot(seconds, curve["decibels"], color=colour, lw=wide, label=name)
        ax.plot([each * found["best after"]], [found["best"]], "o", ms=4, color=colour)
    wanted = next(f["wanted"] for f in row["methods"].values() if "wanted" in f)
    ax.axhline(wanted, color=INK, lw=0.8, ls=":")
    ax.set_xscale("log")
    ax.set_ylim(row["blurred"] - 0.5, None)
    ax.set_title(f"{row['case']}, seed {row['seed']}", **_title())
    ax.set_xlabel("seconds")
    ax.set_ylabel("PSNR, dB")
    ax.grid(color="#e6e9ec")
    _bare(ax, "top", "right")


def _losses(result: dict[str, Any]) -> Figure | None:
    """Draw how many cases lose how much to the best number of iterations."""
    from matplotlib.figure import Figure

    rows = result.get("stopping", [])
    names = [name for name in (rows[0]["methods"] if rows else ())
             if any("loss" in row["methods"][name] for row in rows)]  # fmt: skip
    if not names:
        return None
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    ax = figure.subplots()
    for colour, name in zip(LINES[1:], names, strict=False):
        losses = sorted(r["methods"][name]["loss"] for r in rows if "loss" in r["methods"][name])
        share = [100 * (n + 1) / len(losses) for n in range(len(losses))]
        ax.step([max(v, 0.005) for v in losses], share, where="post", color=colour, label=name)
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.set_xlabel("loss against the best iteration, dB")
    ax.set_ylabel("cases, %")
    ax.grid(color="#e6e9ec")
    ax.legend(frameon=False, fontsize=8)
    _bare(ax, "top", "right")
    return figure


def _panels(rows: Sequence[int], width: float) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    tall = 0.27 * sum(rows) + 0.75 * len(rows) + 0.6
    figure = Figure(figsize=(width, tall), layout="constrained")
    grid = figure.subplots(len(rows), 1, squeeze=False, height_ratios=[n + 1 for n in rows])
    return figure, list(grid[:, 0])


def _legend(figure: Figure, ax: Axes, kinds: Sequence[str]) -> None:
    from matplotlib.patches import Patch

    seen = [kind for kind in COLOURS if kind in kinds]
    patches = [Patch(color=COLOURS[kind], label=SAYS[kind]) for kind in seen]
    figure.legend(handles=patches, loc="outside lower center", ncols=4, frameon=False, fontsize=8)


def _title() -> dict[str, Any]:
    return {"loc": "left", "fontsize": 10, "color": INK, "fontweight": "bold"}


def _bare(ax: Axes, *sides: str) -> None:
    ax.spines[list(sides)].set_visible(False)
    ax.tick_params(colors=INK, labelsize=8)
