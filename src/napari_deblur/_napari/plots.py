"""Charts and sections in a widget, in the colours of napari's theme.

Importing this loads pyqtgraph: import it where a widget is made, not at the top of its module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LineChart", "Look", "SectionView", "follow_theme", "look_of"]

# Colours of lines on a dark ground and on a light one, far enough apart from both.
DARK = ("#ffc857", "#5fb3f9", "#7bd88f", "#f2777a", "#c792ea", "#f2f4f7")
LIGHT = ("#9a5b00", "#1464ad", "#21773a", "#b3261e", "#6a3fa0", "#1e1e21")
# Lines that have the same colour in each chart: the kernel's axes.
NAMED = {"x": 0, "y": 1, "z": 2, "limit": 3, "mean": 5}
GLOW = ("#000004", "#420a68", "#932667", "#dd513a", "#fca50a", "#fcffa4")
HEIGHT = 190  # pixels of a chart
# Of a curve upon others, so that those are seen as well; in its own widths.
DASHES = ((6, 6), (2, 6))
# Curves nearer than this share of their height lie upon each other.
SAME = 0.01
# Numbers at a logarithmic axis.
FEW_TICKS, MOST_TICKS = 3, 7
# A kernel's faint skirt matters, and is not seen beside its peak otherwise.
POWER = 0.5


@dataclass(frozen=True)
class Look:
    """Colours of a theme, as "#rrggbb" or names."""

    ground: str
    text: str
    faint: str
    lines: tuple[str, ...]

    def line(self, name: str, n: int) -> str:
        """Give the colour of the `n`-th curve, which has a name."""
        return self.lines[NAMED.get(name, n) % len(self.lines)]


def look_of(theme: str) -> Look:
    """Give the colours for a theme of napari, by its name."""
    from napari.utils.theme import get_theme

    found = get_theme(theme)
    ground = str(found.background)
    light = QColor(ground).lightnessF() > 0.5
    return Look(ground, str(found.text), str(found.secondary), LIGHT if light else DARK)


def follow_theme(viewer: Any, *plots: LineChart | SectionView) -> None:
    """Draw plots in the colours of the viewer's theme, now and when it changes."""
    # It lives as long as the first plot: napari holds methods weakly.
    plots[0].following = _Following(viewer, plots)


class _Following:
    """Draws plots in the colours of a viewer's theme."""

    def __init__(self, viewer: Any, plots: tuple[Any, ...]) -> None:
        self.viewer, self.plots = viewer, plots
        self.restyle()
        viewer.events.theme.connect(self.restyle)

    def restyle(self, event: Any = None) -> None:
        """Take the colours of the theme as it is now."""
        from qtpy.compat import isalive

        look = look_of(self.viewer.theme)
        for plot in self.plots:
            if isalive(plot):
                plot.restyle(look)


class _Plot(QWidget):  # type: ignore[misc]
    """A plot that leaves the mouse wheel to the form around it, which scrolls."""

    def __init__(self, title: str, height: int) -> None:
        super().__init__()
        self.following: Any = None
        self.title = QLabel(title)
        self.title.setWordWrap(True)
        self.plot = pg.PlotWidget(axisItems={"left": _Axis("left")})
        self.plot.setFixedHeight(height)
        self.plot.setMenuEnabled(False)
        self.plot.setMouseEnabled(False, False)
        self.plot.hideButtons()
        self.plot.viewport().installEventFilter(self)
        # Napari draws frames around views of its own accord.
        self.plot.setStyleSheet("border: 0px; padding: 0px")
        rows = QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setSpacing(2)
        rows.addWidget(self.title)
        rows.addWidget(self.plot)
        self.look = Look("#23242b", "#f0f1f2", "#565f6c", DARK)

    def eventFilter(self, watched: Any, event: Any) -> bool:
        """Hand the wheel on."""
        if event.type() == QEvent.Type.Wheel:
            event.ignore()
            return True
        return bool(super().eventFilter(watched, event))


class _Axis(pg.AxisItem):  # type: ignore[misc]
    """An axis that, where it is logarithmic, has some numbers however little or much it spans."""

    def logTickValues(self, low: float, high: float, size: float, ticks: Any) -> Any:
        first, last = 10.0**low, 10.0**high
        powers = 10.0 ** np.arange(np.floor(low), np.ceil(high) + 1)
        numbers = np.outer(powers, (1, 2, 5)).ravel()
        numbers = numbers[(numbers >= first) & (numbers <= last)]
        if len(numbers) > MOST_TICKS:
            numbers = powers
        elif len(numbers) < FEW_TICKS:
            step = _round((last - first) / FEW_TICKS)
            numbers = step * np.arange(np.ceil(first / step), np.floor(last / step) + 1)
        return [(None, np.log10(numbers).tolist())]

    def logTickStrings(self, values: Any, scale: Any, spacing: Any) -> list[str]:
        return [f"{10.0**v:.4g}" for v in values]


class LineChart(_Plot):
    """Curves over one axis, their names beside them.

    ``chart.show({"training": (xs, ys), "validation": (xs, ys)})`` draws them and forgets those
    before; ``chart.show()`` without curves shows the widget, as of any widget. It takes less than
    10 ms for a few thousand points. Made in the window's thread, and used there. Give it to
    `follow_theme` once, or it keeps the colours of a dark window.

    Parameters
    ----------
    title : str
        A line above the chart; `title` is a label that can be changed later.
    x, y : str
        What the axes are, with the unit: "iteration", "µm".
    log : bool
        Whether the upright axis is logarithmic; values of 0 and below are left out then.
    """

    def __init__(self, title: str, x: str, y: str, *, log: bool = False) -> None:
        super().__init__(title, HEIGHT)
        self.names, self.log = (x, y), log
        self.curves: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {}
        self._extra: dict[str, Any] = {}
        self.plot.setLogMode(False, log)
        self.legend = self.plot.addLegend(offset=(-4, 4), labelTextSize="9pt")

    def show(
        self,
        curves: Mapping[str, tuple[Any, Any]] | None = None,
        *,
        dots: Mapping[str, tuple[Any, Any]] | None = None,
        span: tuple[float, float] | None = None,
        rise: tuple[float, float] | None = None,
        level: float | None = None,
        marks: Sequence[tuple[float, str]] = (),
        unit: str | None = None,
    ) -> None:
        """Draw curves.

        Parameters
        ----------
        curves : {name: (xs, ys)}
            Of equal lengths; what is not finite is left out. None only shows the widget.
        dots : {name of a curve: (xs, ys)}
            Samples that are drawn as dots in the curve's colour.
        span, rise : (low, high) or None
            Ends of the axes; None: what the curves need.
        level : float or None
            Where a line runs across.
        marks : (x, text)
            Upright lines, with a word at each.
        unit : str or None
            Another name for the x axis.
        """
        if curves is None:
            super().show()
            return
        self.curves = {name: _finite(*pair, log=self.log) for name, pair in curves.items()}
        self._extra = {"dots": dots or {}, "level": level, "marks": tuple(marks)}
        if unit is not None:
            self.names = (unit, self.names[1])
        axes = {"xRange": span, "yRange": rise}
        self._extra["axes"] = {name: pair for name, pair in axes.items() if pair is not None}
        self._draw()

    def restyle(self, look: Look) -> None:
        """Draw with the colours of another theme."""
        self.look = look
        self.plot.setBackground(look.ground)
        for side, name in (("bottom", self.names[0]), ("left", self.names[1])):
            axis = self.plot.getAxis(side)
            axis.setPen(look.faint)
            axis.setTextPen(look.text)
            axis.autoSIPrefix = False  # its method would rescale the ticks of a label that is seen
            axis.setLabel(name)
        self.legend.setLabelTextColor(look.text)
        self._draw()

    def _draw(self) -> None:
        look, plot = self.look, self.plot
        plot.clear()
        plot.getAxis("bottom").setLabel(self.names[0])
        level = self._extra.get("level")
        if level is not None:
            plot.addItem(pg.InfiniteLine(level, 0, pg.mkPen(look.faint, width=1)))
        drawn: list[tuple[Any, Any]] = []
        for n, (name, (x, y)) in enumerate(self.curves.items()):
            colour = look.line(name, n)
            below = sum(_covers((x, y), other) for other in drawn)
            dash = DASHES[min(below, len(DASHES)) - 1] if below else None
            plot.plot(x, y, pen=pg.mkPen(colour, width=2, dash=dash), name=name)
            drawn.append((x, y))
            if name in self._extra["dots"]:
                plot.plot(*_finite(*self._extra["dots"][name], log=self.log), pen=None, symbol="o",
                          symbolSize=5, symbolBrush=colour, symbolPen=None)  # fmt: skip
        for place, text in self._extra.get("marks", ()):
            colour = look.line("limit", 0)
            pen = pg.mkPen(colour, width=1.5, style=Qt.PenStyle.DashLine)
            options = {"color": colour, "position": 0.3, "movable": False, "fill": look.ground}
            plot.addItem(pg.InfiniteLine(place, 90, pen, label=text, labelOpts=options))
        self.legend.setVisible(len(self.curves) > 1)
        axes = self._extra.get("axes", {})
        plot.enableAutoRange()
        if axes:
            plot.setRange(**axes, padding=0.02)


class SectionView(_Plot):
    """Cuts through a kernel, side by side in true proportions, with a scale bar.

    xy is above on the left; xz lies below it and yz beside it, so that lines run through. Kernels
    that are long along z have all three beside each other, z running down.
    """

    def __init__(self, title: str, height: int = 250) -> None:
        super().__init__(title, height)
        self.sections: Sequence[tuple[str, NDArray[Any], tuple[float, float]]] = ()
        self.unit = "px"
        self.plot.setAspectLocked(True)
        self.plot.invertY(True)
        for side in ("bottom", "left"):
            self.plot.hideAxis(side)

    def show(
        self,
        sections: Sequence[tuple[str, Any, tuple[float, float]]] | None = None,
        unit: str = "µm",
    ) -> None:
        """Draw sections; without any it shows the widget, as of any widget.

        Parameters
        ----------
        sections : (name, values (rows, columns), (height, width) of a pixel)
            xy first; then, of a solid kernel, xz and yz, in which z runs down.
        unit : str
            Of the pixels.
        """
        if sections is None:
            super().show()
            return
        self.sections, self.unit = sections, unit
        self._draw()

    def restyle(self, look: Look) -> None:
        """Draw with the colours of another theme."""
        self.look = look
        self.plot.setBackground(look.ground)
        self._draw()

    def _draw(self) -> None:
        self.plot.clear()
        if not self.sections:
            return
        sizes = [
            (values.shape[0] * pixel[0], values.shape[1] * pixel[1])
            for _, values, pixel in self.sections
        ]
        height, width = sizes[0]
        deep = sizes[1][0] if len(sizes) > 1 else 0.0
        gap = 0.05 * max(height, width, deep)
        # What is long along z stands beside xy: below it, little room would be left for all.
        tall = deep > 1.2 * max(height, width)
        corners = [(0.0, 0.0), (0.0, width + gap), (0.0, 2 * (width + gap))]
        if not tall:
            corners = [(0.0, 0.0), (height + gap, 0.0), (0.0, width + gap)]
        peak = max(float(values.max()) for _, values, _ in self.sections)
        for n, (name, values, pixel) in enumerate(self.sections):
            shown, step = values, pixel
            if n == 2 and not tall:  # z beside xy: it runs to the right, y down as there
                shown, step = values.T, pixel[::-1]
            top, left = corners[n]
            self._picture(np.asarray(shown), (left, top), step, peak)
            self._word(name, left, top, (0, 0))
        right, bottom = width, height
        if tall:
            right, bottom = 2 * (width + gap) + height, deep
        elif len(sizes) > 1:
            right, bottom = width + gap + deep, height + gap + deep
        self._scale_bar(width, bottom + gap)
        self.plot.setRange(xRange=(0, right), yRange=(0, bottom + 2 * gap), padding=0.02)

    def _picture(
        self, values: NDArray[Any], corner: tuple[float, float], step: Sequence[float], peak: float
    ) -> None:
        bright = np.clip(values / (peak or 1.0), 0, 1) ** POWER
        image = pg.ImageItem(np.ascontiguousarray(bright, np.float32), axisOrder="row-major")
        image.setLevels((0.0, 1.0))
        stops = np.linspace(0, 1, len(GLOW))
        image.setLookupTable(pg.ColorMap(stops, list(GLOW)).getLookupTable(nPts=256))
        image.setRect(*corner, values.shape[1] * step[1], values.shape[0] * step[0])
        self.plot.addItem(image)

    def _word(self, text: str, x: float, y: float, anchor: tuple[float, float]) -> None:
        word = pg.TextItem(text, color="#f2f4f7" if anchor == (0, 0) else self.look.text,
                           anchor=anchor)  # fmt: skip
        word.setPos(x, y)
        self.plot.addItem(word)

    def _scale_bar(self, width: float, y: float) -> None:
        length = _round(0.4 * width)
        pen = pg.mkPen(self.look.text, width=3)
        self.plot.plot([0, length], [y, y], pen=pen)
        self._word(f"{length:g} {self.unit}", length, y, (-0.12, 0.5))


def _covers(curve: tuple[Any, Any], other: tuple[Any, Any]) -> bool:
    """Whether a curve lies upon another one, which is then not seen."""
    (x, y), (at, below) = curve, other
    if len(x) < 2 or len(at) < 2:
        return False
    here = (x >= at.min()) & (x <= at.max())
    apart = np.abs(y - np.interp(x, at, below))[here]
    return bool(apart.size > len(x) / 2 and apart.max() < SAME * (np.ptp(y) or 1.0))


def _finite(x: Any, y: Any, *, log: bool) -> tuple[NDArray[Any], NDArray[Any]]:
    across, up = np.asarray(x, float), np.asarray(y, float)
    known = np.isfinite(across) & np.isfinite(up) & ((up > 0) if log else True)
    return across[known], up[known]


def _round(length: float) -> float:
    """Give the largest of 1, 2, 5 times a power of ten that is no longer."""
    power = 10.0 ** np.floor(np.log10(length))
    return float(max(m for m in (1, 2, 5) if m * power <= length * 1.0001) * power)
