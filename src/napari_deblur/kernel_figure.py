"""One picture of a kernel: three sections, profiles with their widths, and what light it passes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur.kernel_measures import Measures, encircled, measured, profile, transfer
from napari_deblur.pictures import CURVES, DIM, GLOW, PANEL, Box, Page, Picture

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_deblur.protocols import Facts, Kernel

    Array = NDArray[np.floating[Any]]

__all__ = ["Chart", "Curve", "charts", "check_picture", "energy", "sections", "write_figure"]

MARGIN, GAP, SIDE, HEAD, STEP = 36, 30, 430, 128, 52
LINES, FAINT_LINE = "#2a2f38", "#4a515d"
LIMIT = "#f2777a"
# Axes by their own colour, the same in every chart.
COLOURS = {"x": CURVES[0], "y": CURVES[1], "z": CURVES[2], "mean": "#f2f4f7"}


@dataclass(frozen=True, eq=False)
class Curve:
    """A line to draw, with its name and colour, and the samples on it as dots."""

    name: str
    x: Array
    y: Array
    colour: str
    dots: tuple[Array, Array] | None = None


@dataclass(frozen=True, eq=False)
class Chart:
    """Curves over one axis, from 0 to 1 upwards; an upright line at `limit`."""

    curves: Sequence[Curve]
    span: tuple[float, float]
    unit: str
    level: float | None = None
    limit: tuple[float, str] | None = None


def check_picture(png: Path) -> None:
    """Raise ValueError if a picture can't go there: it is written as PNG."""
    if png.suffix.lower() != ".png":
        raise ValueError(f'a figure is drawn as .png, and "{png.name}" is none: name it so')
    if not png.absolute().parent.is_dir():
        raise FileNotFoundError(f'there is no folder "{png.absolute().parent}": make it first')


def write_figure(
    kernel: Kernel, png: str | Path, optics: Facts | None = None, *, title: str = "kernel"
) -> None:
    """Draw the first kernel as a PNG.

    Parameters
    ----------
    kernel : Kernel
    png : path of the picture, which is replaced
    optics : Facts or None
        With `na` and `wavelength` the optical limit is drawn too.
    title : str
        What stands above it.
    """
    found = measured(kernel, optics)
    one = kernel.at().astype(np.float64)
    solid = one.shape[0] > 1
    page = Page(2 * MARGIN + 3 * SIDE + 2 * GAP, HEAD + (2 if solid else 1) * (SIDE + STEP) + 20)
    _head(page, found, title, kernel)
    top = HEAD + STEP
    boxes = [Box(MARGIN + n * (SIDE + GAP), top, SIDE, SIDE) for n in range(3)]
    below = [Box(b.left, top + SIDE + STEP, SIDE, SIDE - 40) for b in boxes]
    limits = (0.0, float(one.max()))
    for box, (name, values, pixel) in zip(boxes, sections(kernel), strict=False):
        picture = Picture(values, limits, pixel, found.unit, GLOW, power=0.5)
        page.heading(box, f"{name} through the peak", "√ brightness")
        page.draw.rectangle((box.left, box.top, box.left + SIDE - 1, box.top + SIDE - 1), PANEL)
        page.picture(box, picture)
    drawn = charts(kernel, found)
    for box, (name, aside, chart) in zip(below if solid else boxes[1:], drawn, strict=True):
        page.heading(box, name, aside)
        _draw(page, box, chart)
    page.image.save(png, "PNG", optimize=True)


def _head(page: Page, found: Measures, title: str, kernel: Kernel) -> None:
    right = page.image.width - MARGIN
    page.words(MARGIN, 30, title, size=30)
    page.words(right, 36, "napari-deblur", size=18, fill=DIM, at="ra")
    flat = found.shape[0] == 1
    size = kernel.pixel_size
    voxels = " × ".join(map(str, found.shape[1:] if flat else found.shape))
    of = "" if size is None else " of " + _by(size[1:] if flat else size) + " µm"
    what = "pixels" if flat else "voxels"
    wide = _by(w for w in found.fwhm if w is not None)
    axes = "y, x" if flat else "z, y, x"
    page.words(
        MARGIN,
        76,
        f"{voxels} {what}{of} ({axes})  ·  full width at half maximum {wide} {found.unit}",
        size=16,
        fill=DIM,
    )
    said = [
        f"half of the light in focus within {found.radius_50:.3g} {found.unit}, "
        f"90 % within {found.radius_90:.3g} {found.unit}",
        f"at the border {_percent(found.border)}",
    ]
    if found.beyond is not None:
        said.append(f"power beyond the optical limit {_percent(found.beyond)}")
    page.words(MARGIN, 100, "  ·  ".join(said), size=16, fill=DIM)


def _by(values: Any) -> str:
    return " × ".join(f"{v:.3g}" for v in values)


def _percent(share: float) -> str:
    return "< 0.01 %" if share < 1e-4 else f"{100 * share:.2g} %"


def sections(kernel: Kernel) -> list[tuple[str, Array, tuple[float, float]]]:
    """Cut the first kernel through its peak.

    Returns
    -------
    list of (name, values (rows, columns), (height, width) of a pixel)
        "xy"; of a solid kernel also "xz" and "yz", in which z runs down.
    """
    one, size = kernel.at().astype(np.float64), kernel.pixel_size or (1.0, 1.0, 1.0)
    z, y, x = (int(i) for i in np.unravel_index(int(one.argmax()), one.shape))
    cuts = [("xy", one[z], (size[1], size[2]))]
    if one.shape[0] > 1:
        cuts += [
            ("xz", one[:, y], (size[0], size[2])),
            ("yz", one[:, :, x], (size[0], size[1])),
        ]
    return cuts


def charts(kernel: Kernel, found: Measures) -> list[tuple[str, str, Chart]]:
    """Give charts of the first kernel: profiles, and transfer functions across and along z.

    Each comes with its name and what is to be said beside it.
    """
    one = kernel.at().astype(np.float64)
    size = kernel.pixel_size or (1.0, 1.0, 1.0)
    per = f"cycles / {found.unit}"
    lines = []
    for axis in (2, 1, 0):
        if one.shape[axis] == 1:
            continue
        line = profile(one, axis)
        lines.append(_smooth("zyx"[axis], line / line.max(), size[axis]))
    widths = [w for w in found.fwhm if w is not None and np.isfinite(w)]
    half = 1.8 * max(widths, default=float(max(np.abs(c.x).max() for c in lines)) / 1.8)
    half = min(half, max(float(np.abs(c.x).max()) for c in lines))
    named = [("zyx"[a], w) for a, w in enumerate(found.fwhm) if w is not None]
    aside = ", ".join(f"{a} {w:.3g}" for a, w in named) + f" {found.unit}"
    made = [("profiles", f"FWHM {aside}", Chart(lines, (-half, half), found.unit, level=0.5))]
    seen = transfer(kernel)
    across = [
        Curve("x", *seen.x, COLOURS["x"]),
        Curve("y", *seen.y, COLOURS["y"]),
        Curve("mean", *seen.across, COLOURS["mean"]),
    ]
    limit = None if found.limit is None else found.limit[1]
    made.append(_transfer("transfer function, across", across, found.cutoff[1], limit, per))
    if seen.along is not None and found.cutoff[0] is not None:
        limit = None if found.limit is None else found.limit[0]
        along = [Curve("z", *seen.along, COLOURS["z"])]
        made.append(_transfer("transfer function, along z", along, found.cutoff[0], limit, per))
    return made


def energy(kernel: Kernel, found: Measures) -> tuple[str, str, Chart]:
    """Give the chart of the light within circles, in the plane of the peak."""
    radii, shares = encircled(kernel)
    aside = f"90 % within {found.radius_90:.3g} {found.unit}"
    shown = min(float(radii[-1]), 2.5 * found.radius_90)
    chart = Chart([Curve("mean", radii, shares, COLOURS["mean"])], (0.0, shown), found.unit, 0.5)
    return "light in focus", aside, chart


def _smooth(name: str, line: Array, step: float) -> Curve:
    """Draw waves between the samples of a profile, the peak at 0; straight lines where they ring.

    Waves that go far below 0 are those of a hard edge.
    """
    samples = np.arange(line.size, dtype=float)
    fine = np.linspace(0, line.size - 1, 12 * (line.size - 1) + 1)
    curve = np.sinc(fine[:, None] - samples) @ line
    if curve.min() < -0.04:
        curve = np.interp(fine, samples, line)
    middle = fine[int(curve.argmax())]
    dots = ((samples - middle) * step, line)
    return Curve(name, (fine - middle) * step, curve / curve.max(), COLOURS[name], dots)


def _transfer(
    name: str, curves: Sequence[Curve], end: float, limit: float | None, per: str
) -> tuple[str, str, Chart]:
    last = max(float(c.x.max()) for c in curves)
    shown = min(last, 1.35 * max(end, limit or 0.0))
    mark = None if limit is None or limit > shown else (limit, f"limit {limit:.3g}")
    return name, f"ends at {end:.3g} {per}", Chart(curves, (0.0, shown), per, limit=mark)


def _draw(page: Page, box: Box, chart: Chart) -> None:
    """Draw curves with ticks, names, and a line at the limit."""
    draw = page.draw
    draw.rectangle((box.left, box.top, box.left + box.width - 1, box.top + box.height - 1), PANEL)
    inner = Box(box.left + 48, box.top + 22, box.width - 70, box.height - 72)
    low, high = chart.span

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - low) / (high - low)
        return inner.left + inner.width * across, inner.top + inner.height * (1 - y)

    bottom = inner.top + inner.height
    for share in (0.0, 0.5, 1.0):
        y = place(low, share)[1]
        colour = FAINT_LINE if share == chart.level else LINES
        draw.line((inner.left, y, inner.left + inner.width, y), fill=colour)
        page.words(inner.left - 8, y, f"{share:g}", size=13, fill=DIM, at="rm")
    for tick in _ticks(low, high):
        x = place(tick, 0)[0]
        draw.line((x, bottom, x, bottom + 5), fill=FAINT_LINE)
        page.words(x, bottom + 10, f"{tick:g}", size=13, fill=DIM, at="ma")
    page.words(inner.left + inner.width, bottom + 28, chart.unit, size=13, fill=DIM, at="ra")
    if chart.limit is not None:
        x = place(chart.limit[0], 0)[0]
        for y in range(inner.top, bottom, 9):
            draw.line((x, y, x, min(y + 5, bottom)), fill=LIMIT, width=2)
        aside, at = (-6, "ra") if x - inner.left > inner.width / 2 else (6, "la")
        page.words(x + aside, inner.top + 70, chart.limit[1], size=13, fill=LIMIT, at=at)
    for curve in chart.curves:
        shown = zip(*_within(curve, low, high), strict=True)
        points = [place(float(a), float(np.clip(b, 0, 1.05))) for a, b in shown]
        if len(points) > 1:
            draw.line(points, fill=curve.colour, width=3, joint="curve")
        if curve.dots is not None:
            for a, b in zip(*curve.dots, strict=True):
                if low <= a <= high:
                    x0, y0 = place(float(a), float(b))
                    draw.ellipse((x0 - 4, y0 - 4, x0 + 4, y0 + 4), fill=curve.colour)
    if len(chart.curves) > 1:
        for n, curve in enumerate(chart.curves):
            right, top = inner.left + inner.width, inner.top + 8 + 20 * n
            draw.rectangle((right - 42, top - 2, right + 2, top + 18), fill=PANEL)
            page.words(right - 2, top, curve.name, size=14, fill=curve.colour, at="ra")


def _within(curve: Curve, low: float, high: float) -> tuple[Array, Array]:
    """Cut a curve off at both ends of the chart."""
    inside = (curve.x > low) & (curve.x < high)
    ends = np.array([e for e in (low, high) if curve.x.min() <= e <= curve.x.max()])
    x = np.sort(np.concatenate([curve.x[inside], ends]))
    return x, np.interp(x, curve.x, curve.y)


def _ticks(low: float, high: float) -> list[float]:
    """Give round numbers, four to eight of them."""
    step = 10 ** math.floor(math.log10((high - low) / 4))
    step *= max(m for m in (1, 2, 5) if (high - low) / (m * step) >= 4)
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 12) for n in range(first, math.floor(high / step + 1e-9) + 1)]
