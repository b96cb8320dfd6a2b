"""PSF from beads: they are found, judged, corrected by hand, and averaged."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.compat import isalive
from qtpy.QtWidgets import QApplication, QLineEdit, QPushButton, QVBoxLayout, QWidget

from napari_deblur._napari import bead_points
from napari_deblur._napari.bead_table import BeadTable
from napari_deblur._napari.layer_box import LayerBox
from napari_deblur._napari.psf_making import lengths_of, number_of, sections, size_of
from napari_deblur._napari.reading import axes_of, offered, stack_of
from napari_deblur._napari.rows import rows_of, scrolled, sentence, side_by_side
from napari_deblur._napari.size_row import SizeRow
from napari_deblur._napari.working import Working

if TYPE_CHECKING:
    from napari_deblur.beads import Bead, BeadReport
    from napari_deblur.protocols import Kernel

__all__ = ["BeadsPsf"]

HOW = (
    "Correct by hand in the layer “{name}”: delete points, add points (key 2), or choose rows "
    "below and leave them out; then press Recompute."
)


class BeadsPsf(Working):
    """Finds the beads of a layer, lets them be corrected, and gives their average as a kernel."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        from napari_deblur._napari.plots import SectionView

        self.viewer = napari_viewer
        self.kernel: Kernel | None = None
        self.report: BeadReport | None = None
        self.points: Any = None
        self._of: tuple[Any, str, dict[str, int]] | None = None  # layer, axes, frame and channel
        self._count, self._setting = 0, False
        self._stale = False  # whether the average is older than the points and the numbers
        self._by_hand = 0  # how often somebody corrected the points
        self.layer = LayerBox(self.viewer, _shows_beads, "The image of small beads")
        self.size = SizeRow("As the layer says; correct it here.")
        self.diameter = QLineEdit()
        self.diameter.setPlaceholderText("not corrected for")
        self.diameter.setToolTip("Of the beads, in µm: the kernel is corrected for their size")
        self.saturation = QLineEdit()
        self.saturation.setPlaceholderText("found, if the camera clipped")
        self.saturation.setToolTip("Counts from which on the camera is full")
        self.shape = QLineEdit("auto")
        self.shape.setToolTip("Voxels of the kernel: odd numbers z, y, x; auto: all of its light")
        self.find = _button("Find beads", "Find beads in the frame and channel that are shown")
        self.again = _button("Recompute", "Average exactly the points that are in use")
        self.use = _button("Use", "Use the chosen beads, whatever was found against them")
        self.leave = _button("Leave out", "Leave the chosen beads out")
        self.copy = _button("Copy table", "Copy the table, for a spreadsheet")
        self.add = _button("Add kernel", "Add the average as a layer that Deblur offers")
        self.starters = [self.find, self.again, self.use, self.leave, self.copy, self.add]
        self.how, self.widths = sentence(), sentence()
        self.table = BeadTable()
        self.picture = SectionView("The kernel", 200)
        self._lay_out()
        self.viewer.events.theme.connect(self._restyle)
        self._restyle()
        self.layer.changed.connect(self._layer_chosen)
        for line in (self.diameter, self.saturation, self.shape):
            line.textEdited.connect(self._number_edited)
        self.find.clicked.connect(partial(self.plainly, self._find))
        self.again.clicked.connect(partial(self.plainly, self._again))
        self.use.clicked.connect(partial(self.plainly, partial(self._mark, "")))
        self.leave.clicked.connect(partial(self.plainly, partial(self._mark, bead_points.BY_HAND)))
        self.copy.clicked.connect(self._copy)
        self.add.clicked.connect(partial(self.plainly, self._add))
        self.table.itemSelectionChanged.connect(self._row_chosen)
        self._layer_chosen()

    def reset_choices(self, event: Any = None) -> None:
        """Offer the layers there are; napari calls it when they change."""
        self.layer.reset_choices()
        if self.points is not None and self.points not in self.viewer.layers:
            self._let_go()
        if not self.busy():
            self.refresh()

    def refresh(self) -> None:
        """Set the buttons that can be pressed."""
        self.find.setEnabled(self.layer.layer is not None)
        for button in (self.again, self.use, self.leave):
            button.setEnabled(self.points is not None)
        self.copy.setEnabled(self.report is not None)
        self.add.setEnabled(self.kernel is not None and not self._stale)

    def _find(self) -> None:
        from napari_deblur._napari.window import cut_of

        layer = self.layer.layer
        if layer is None:
            raise ValueError("There is no image of beads: open one, e.g. File ▸ Open Sample")
        axes = axes_of(layer)
        cut = {a: n for a, n in cut_of(self.viewer, layer, axes).items() if a in "tc"}
        self._compute(layer, axes, cut, "Finding the beads", None, [])

    def _again(self) -> None:
        if self.points is None or self._of is None:
            raise ValueError("There are no points: press Find beads first")
        layer, axes, cut = self._of
        if layer not in self.viewer.layers:
            raise ValueError("The image of these beads is gone: choose another, press Find beads")
        wanted, left = bead_points.read(self.points)
        places = np.array([bead.place for bead in wanted]).reshape(-1, 3)
        self._compute(layer, axes, cut, "Averaging the beads", places, left)

    def _compute(
        self, layer: Any, axes: str, cut: dict[str, int], what: str, places: Any, left: list[Bead]
    ) -> None:
        from napari_deblur._napari.together import correct_all
        from napari_deblur._napari.window import same_view

        size = size_of(self.size.texts())
        stack = stack_of(layer, axes, size)
        flat = stack.shape[2] == 1
        if size[0] is None and not flat:
            raise ValueError("the voxel size along z is empty: give the distance of planes in µm")
        options = {
            "pixel_size": (size[0] or 1.0, *size[1:]),
            "shape": lengths_of(self.shape.text(), flat=flat),
            "diameter": number_of(self.diameter.text(), "the beads' diameter"),
            "saturation": number_of(self.saturation.text(), "saturation"),
            "time": cut.get("t", 0),
            "channel": cut.get("c", 0),
            "places": places,
        }
        with same_view(self.viewer, layer):
            correct_all(self.viewer, layer, axes, size)  # its rings as well
        cancelled = Event()
        by_hand = 0 if places is None else self._by_hand  # of what is averaged
        then = partial(self._found, layer, axes, cut, left, by_hand)
        steps = _averaging(stack, options, cancelled.is_set)
        self.start(what, steps, then, cancelled=cancelled)

    def _found(
        self, layer: Any, axes: str, cut: dict[str, int], left: list[Bead], by_hand: int,
        outcome: tuple[Kernel, BeadReport],
    ) -> None:  # fmt: skip
        self.kernel, self.report = outcome
        self._stale = False
        left = bead_points.apart(left, self.report.beads)
        beads = [*self.report.beads, *left]
        # What was corrected by hand is kept: beads that are found anew get a layer of their own.
        other = self._of is None or self._of[0] is not layer or self._of[2] != cut
        fresh = other or self._by_hand != by_hand
        self._of = (layer, axes, cut)
        if layer in self.viewer.layers:
            self._show_points(beads, fresh=fresh)
        self.table.fill(beads)
        self.widths.setText(bead_points.spread(self.report))
        self.picture.show(sections(self.kernel))
        shape = " × ".join(map(str, self.kernel.shape))
        self.picture.title.setText(f"The kernel, {shape} voxels")
        notes = "".join(f" Note: {note}." for note in self.report.notes)
        self.idle(f"{bead_points.counted(beads)}.{notes}")

    def _show_points(self, beads: list[Bead], *, fresh: bool) -> None:
        assert self._of is not None
        layer, axes, _ = self._of
        self._setting = True
        try:
            if self.points is None or fresh:
                from napari_deblur._napari.adding import free_name

                self._let_go()
                name = free_name(self.viewer, f"beads of {layer.name}")
                data, kwargs, _ = bead_points.points_data(layer, axes, beads, name)
                self.points = self.viewer.add_points(data, **kwargs)
                self.points.events.data.connect(self._points_changed)
                self.points.mode = "select"
            else:
                self.points.selected_data = set()
                self.points.data = bead_points.points_of(beads)
                self.points.features = bead_points.features_of(beads)
                self.points.border_color = bead_points.colours(beads)
        finally:
            self._setting = False
        self._count = len(beads)
        self.how.setText(HOW.format(name=self.points.name))

    def _let_go(self) -> None:
        """Listen no more to the points before."""
        if self.points is not None:
            self.points.events.data.disconnect(self._points_changed)
        self.points, self._by_hand = None, 0

    def _outdated(self, what: str) -> None:
        """Say that the average is older than what it should be of; it can't be added any more."""
        self._stale = self.kernel is not None
        if not self.busy():
            self.refresh()
            if self._stale:
                which = "Recompute" if self.points is not None else "Find beads"
                self.status.setText(f"{what} changed: press {which}.")

    def _number_edited(self, _: str = "") -> None:
        self._outdated("The numbers were")

    def _points_changed(self, event: Any) -> None:
        """Take new points for beads in use, and say that the average is older than the points."""
        if self._setting or not isalive(self) or event.source is not self.points:
            return
        if event.action in ("adding", "removing", "changing"):
            return
        new = range(self._count, len(self.points.data))
        if event.action == "added" and len(new):
            self._set_reason(list(new), "", new=True)
        self._count = len(self.points.data)
        self.table.setEnabled(False)  # its rows are no longer those of the points
        self._by_hand += 1
        self._outdated("The points were")

    def _mark(self, reason: str) -> None:
        if self.points is None:
            raise ValueError("There are no points: press Find beads first")
        chosen = sorted(int(n) for n in self.points.selected_data)
        if not chosen:
            raise ValueError("Choose beads first: rows of the table, or points in the viewer")
        self._set_reason(chosen, reason)
        if self.table.isEnabled():
            self.table.mark(chosen, reason)
        self._by_hand += 1
        self._outdated("The points were")

    def _set_reason(self, rows: list[int], reason: str, *, new: bool = False) -> None:
        self._setting = True
        try:
            bead_points.mark(self.points, rows, reason, new=new)
        finally:
            self._setting = False

    def _row_chosen(self) -> None:
        """Select the beads' points, and show the first one's plane."""
        rows = self.table.chosen()
        if self.points is None or not rows or rows[-1] >= len(self.points.data):
            return
        assert self._of is not None
        self.points.selected_data = set(rows)
        layer, axes, cut = self._of
        known = cut | dict(zip("zyx", self.table.beads[rows[0]].place, strict=True))
        bead_points.go_to(self.viewer, layer, [known.get(axis, 0) for axis in axes])

    def _copy(self) -> None:
        QApplication.clipboard().setText(bead_points.tabbed(self.table.beads, self.report))
        self.status.setText(f"{len(self.table.beads)} rows were copied.")

    def _add(self) -> None:
        from napari_deblur._napari.kernel_adding import add_kernel

        if self.kernel is None or self._of is None:
            raise ValueError("There is no kernel yet: press Find beads first")
        layer = self._of[0]
        beside = layer if layer in self.viewer.layers else None
        added = add_kernel(self.viewer, self.kernel, f"psf [beads of {layer.name}]", beside)
        self.status.setText(f"“{added.name}” was added; Deblur offers it as a kernel.")

    def _layer_chosen(self) -> None:
        if self.layer.layer is not None:
            self.size.fill(self.layer.layer)
        if not self.busy():
            self.refresh()

    def _restyle(self, event: Any = None) -> None:
        from napari_deblur._napari.plots import look_of

        if isalive(self.picture):
            self.picture.restyle(look_of(self.viewer.theme))

    def _lay_out(self) -> None:
        inner = QWidget()
        whole = QVBoxLayout(inner)
        whole.setContentsMargins(6, 6, 6, 6)
        whole.addWidget(
            rows_of(
                [
                    ("beads", self.layer),
                    ("voxel size (µm)", self.size),
                    ("diameter (µm)", self.diameter),
                    ("saturation", self.saturation),
                    ("voxels", self.shape),
                ]
            )
        )
        whole.addWidget(side_by_side(self.find, self.cancel))
        whole.addWidget(self.bar)
        whole.addWidget(self.status)
        whole.addWidget(self.how)
        whole.addWidget(self.table)
        whole.addWidget(side_by_side(self.use, self.leave, self.again))
        whole.addWidget(self.picture)
        whole.addWidget(self.widths)
        whole.addWidget(side_by_side(self.add, self.copy))
        whole.addStretch(1)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scrolled(inner))
        self.setMinimumWidth(300)


def _shows_beads(layer: Any) -> bool:
    return offered(layer) and not layer.rgb and "kernel_pixel_size" not in layer.metadata


def _button(text: str, tip: str) -> Any:
    button = QPushButton(text)
    button.setToolTip(tip)
    return button


def _averaging(
    stack: Any, options: dict[str, Any], cancelled: Callable[[], bool]
) -> Generator[str, None, tuple[Kernel, BeadReport]]:
    from napari_deblur._napari.preview import load_torch

    yield "finding and measuring the beads"
    load_torch()
    from napari_deblur.beads import beads_to_kernel
    from napari_deblur.protocols import Cancelled

    def between() -> None:
        if cancelled():
            raise Cancelled

    return beads_to_kernel(stack, between=between, **options)
