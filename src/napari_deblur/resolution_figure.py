"""One picture of Fourier ring correlation: both curves, the threshold, and where they cross it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_deblur.pictures import CURVES, DIM, Box, Page

if TYPE_CHECKING:
    from napari_deblur.ops.resolution import Rings
    from napari_deblur.resolving import Resolution

__all__ = ["write_resolution_figure"]

# Gives the pixel of a frequency and a correlation.
Place = Callable[[float, float], tuple[float, float]]

WIDTH, HEIGHT, MARGIN, HEAD = 900, 560, 36, 130
PANEL, LINES, THRESHOLD_LINE = "#171a20", "#2a2f38", "#f2777a"
COLOURS = {"before": CURVES[1], "after": CURVES[0]}
TICKS = 6


def write_resolution_figure(
    found: Resolution, png: str | Path, *, title: str = "resolution"
) -> None:
    """Draw both curves as a PNG, which is replaced: points of the rings, and their average."""
    from napari_deblur.ops.resolution import THRESHOLD

    page = Page(WIDTH, HEIGHT)
    page.words(MARGIN, 30, title, size=30)
    page.words(WIDTH - MARGIN, 36, "napari-deblur", size=18, fill=DIM, at="ra")
    rows = found.rows()
    said = f"before: {rows['resolution before']}  ·  after: {rows['resolution after']}"
    page.words(MARGIN, 76, said, size=16, fill=DIM)
    page.words(MARGIN, 100, rows["how"], size=16, fill=DIM)
    box = Box(MARGIN, HEAD, WIDTH - 2 * MARGIN, HEIGHT - HEAD - MARGIN)
    page.draw.rectangle((box.left, box.top, box.left + box.width, box.top + box.height), PANEL)
    inner = Box(box.left + 52, box.top + 20, box.width - 76, box.height - 72)
    last = float(found.before.frequency[-1])
    bottom = inner.top + inner.height

    def place(x: float, y: float) -> tuple[float, float]:
        height = inner.height * (1 - min(max(y, -0.05), 1.05))
        return inner.left + inner.width * x / last, inner.top + height

    for share in (0.0, 0.5, 1.0):
        y = place(0, share)[1]
        page.draw.line((inner.left, y, inner.left + inner.width, y), fill=LINES)
        page.words(inner.left - 8, y, f"{share:g}", size=13, fill=DIM, at="rm")
    for tick in np.linspace(0, last, TICKS):
        x = place(float(tick), 0)[0]
        page.draw.line((x, bottom, x, bottom + 5), fill=LINES)
        page.words(x, bottom + 10, f"{tick:.3g}", size=13, fill=DIM, at="ma")
    page.words(
        inner.left + inner.width,
        bottom + 28,
        f"cycles / {found.unit}",
        size=13,
        fill=DIM,
        at="ra",
    )
    level = place(0, THRESHOLD)[1]
    page.draw.line((inner.left, level, inner.left + inner.width, level), fill=THRESHOLD_LINE)
    page.words(inner.left + inner.width, level - 5, "1/7", size=13, fill=THRESHOLD_LINE, at="rs")
    for n, (name, rings) in enumerate((("before", found.before), ("after", found.after))):
        _draw(page, rings, COLOURS[name], place)
        page.words(
            inner.left + inner.width, inner.top + 6 + 22 * n, name, fill=COLOURS[name], at="ra"
        )
    page.image.save(png, "PNG", optimize=True)


def _draw(page: Page, rings: Rings, colour: str, place: Place) -> None:
    for x, y in zip(rings.frequency, rings.correlation, strict=True):
        a, b = place(float(x), float(y))
        page.draw.ellipse((a - 1.5, b - 1.5, a + 1.5, b + 1.5), fill=colour)
    points = [place(float(x), float(y)) for x, y in zip(rings.frequency, rings.smooth, strict=True)]
    if len(points) > 1:
        page.draw.line(points, fill=colour, width=3, joint="curve")
    if rings.cutoff is not None and not rings.at_the_end:
        x, low = place(rings.cutoff, 0)
        high = place(rings.cutoff, 1 / 7)[1]
        page.draw.line((x, high, x, low), fill=colour, width=2)
