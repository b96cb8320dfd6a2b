"""What is seen of a kernel: verdict, sections, charts, optics and numbers."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QLabel, QLineEdit, QTabWidget, QVBoxLayout, QWidget

from napari_deblur._napari.rows import sentence, side_by_side
from napari_deblur._napari.texts import dotted
from napari_deblur.protocols import Facts

if TYPE_CHECKING:
    from napari_deblur._napari.inspecting import Inspected

__all__ = ["KernelView", "capital"]

NUMBERS = {
    "na": ("NA", "Numerical aperture of the objective, for the optical limit"),
    "wavelength": ("λ (µm)", "Wavelength of the emission in µm, for the optical limit"),
    "n_immersion": ("n", "Refractive index of the immersion, for the limit along z"),
}


class KernelView(QWidget):  # type: ignore[misc]
    """Shows what was found on a kernel; the numbers of the optics can be changed.

    Parameters
    ----------
    viewer : napari viewer
        Whose theme is followed.
    """

    corrected = Signal()

    def __init__(self, viewer: Any) -> None:
        from napari_deblur._napari.plots import LineChart, SectionView, follow_theme

        super().__init__()
        self.shown: Inspected | None = None
        self.verdict, self.where, self.numbers = sentence(), sentence(), sentence()
        self.sections = SectionView("Sections through the peak (√ brightness)")
        self.charts = {
            name: LineChart("", "", "") for name in ("Profiles", "OTF", "OTF z", "Energy", "Run")
        }
        self.tabs = QTabWidget()
        self.tabs.setToolTip(
            "Profiles through the peak, transfer functions across and along z, light within "
            "circles, and the residual of the run"
        )
        for name, chart in self.charts.items():
            self.tabs.addTab(chart, name)
        self.optics = {name: _number(*texts) for name, texts in NUMBERS.items()}
        fields = [w for edit in self.optics.values() for w in (edit.name, edit)]
        self.known = side_by_side(*fields)
        rows = QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        for widget in (self.verdict, self.where, self.sections, self.tabs, self.known,
                       self.numbers):  # fmt: skip
            rows.addWidget(widget)
        follow_theme(viewer, self.sections, *self.charts.values())
        self.tabs.currentChanged.connect(self._draw)
        for edit in self.optics.values():
            edit.editingFinished.connect(self._corrected)
        self.empty("")

    def empty(self, text: str) -> None:
        """Show nothing but a sentence."""
        self.shown = None
        self.where.setText(text)
        for widget in (self.verdict, self.sections, self.tabs, self.known, self.numbers):
            widget.hide()

    def forget_optics(self) -> None:
        """Forget what was typed of the optics."""
        for edit in self.optics.values():
            edit.setText("")

    def given(self) -> Facts:
        """Give what was typed of the optics; what was only shown doesn't count.

        Raises
        ------
        ValueError
            When it is no number.
        """
        numbers: dict[str, Any] = {}
        for name, edit in self.optics.items():
            text = dotted(edit.text(), NUMBERS[name][0])
            if not edit.isModified() or not text:
                continue
            try:
                numbers[name] = float(text)
            except ValueError:
                said = NUMBERS[name][0]
                raise ValueError(f'{said} is "{text}": give a number such as 1.2') from None
        return Facts(**numbers)

    def draw(self, found: Inspected) -> None:
        """Show a kernel."""
        before, self.shown = self.shown, found
        self.where.setText(capital(found.local.where))
        self._offer(found)
        if before is not None and before.found is found.found:
            self._draw()
            return  # another place with the same kernel
        self.verdict.setText(f"<b>{escape(found.verdict)}</b>")
        for name, edit in self.optics.items():
            value = getattr(found.optics, name)
            if not (edit.isModified() and edit.text().strip()):
                edit.setText("" if value is None else f"{value:.4g}")
        cells = (
            f"<tr><td style='padding-right: 8px'>{escape(name)}</td><td>{escape(text)}</td></tr>"
            for name, text in found.rows()
        )
        self.numbers.setText(f"<table>{''.join(cells)}</table>")
        self.sections.show(found.sections, found.found.unit)
        for widget in (self.verdict, self.tabs, self.known, self.numbers):
            widget.show()
        self.sections.show()
        self._draw()

    def _offer(self, found: Inspected) -> None:
        """Show the tabs of the charts there are."""
        drawn = {name for name, _, _ in _charts(found)}
        for n, name in enumerate(self.charts):
            self.tabs.setTabVisible(n, name in drawn)

    def _draw(self, _: int = 0) -> None:
        """Draw the chart that is seen; the others when they are."""
        if self.shown is None:
            return
        seen = self.tabs.tabText(self.tabs.currentIndex())
        for name, title, how in _charts(self.shown):
            if name == seen:
                self.charts[name].title.setText(title)
                self.charts[name].show(**how)

    def _corrected(self) -> None:
        if any(edit.isModified() for edit in self.optics.values()):
            self.corrected.emit()


def _charts(found: Inspected) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Give name, title and what `LineChart.show` takes, of each chart there is."""
    names = [*("Profiles", "OTF", "OTF z")[: len(found.charts) - 1], "Energy"]
    for name, (title, aside, chart) in zip(names, found.charts, strict=True):
        marks = [] if chart.limit is None else [chart.limit]
        if name == "Energy":
            radii = (found.found.radius_50, found.found.radius_90)
            marks = [(r, f"{s} %") for r, s in zip(radii, (50, 90), strict=True)]
        how: dict[str, Any] = {
            "curves": {one.name: (one.x, one.y) for one in chart.curves},
            "dots": {one.name: one.dots for one in chart.curves if one.dots is not None},
            "span": chart.span,
            "rise": (0.0, 1.02),
            "level": chart.level,
            "marks": marks,
            "unit": chart.unit,
        }
        yield name, f"{capital(title)}: {aside}", how
    residuals = found.local.residuals
    if residuals is not None:
        steps = range(1, len(residuals) + 1)
        how = {"curves": {"residual": (steps, residuals)}, "unit": "iteration"}
        yield "Run", "Residual of the run, in the tile of this place", how


def _number(name: str, tip: str) -> Any:
    """Make a line for a number, and its label."""
    edit = QLineEdit()
    edit.setToolTip(tip)
    edit.setMinimumWidth(36)
    edit.name = QLabel(name)
    edit.name.setToolTip(tip)
    edit.name.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
    return edit


def capital(text: str) -> str:
    """Begin a sentence."""
    return text[:1].upper() + text[1:]
