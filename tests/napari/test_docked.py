"""Every widget, docked beside a small window: it takes little of it, and all of it can be seen."""

from pathlib import Path

import pytest
from qtpy.QtCore import QRect, Qt
from qtpy.QtWidgets import QComboBox, QLabel, QScrollArea

from napari_deblur import registry
from napari_deblur._napari.deblur import Deblur
from napari_deblur._napari.fold import Fold
from napari_deblur._napari.resuming import Unfinished
from napari_deblur._napari.samples import simulated
from napari_deblur._napari.ways import MODELS, methods_for

NARROW = 320
NAMES = ("Deblur", "Kernel inspector", "PSF from optics", "PSF from beads", "Train GDUNet")


LONG = f"2026_03_{'very_' * 20}long.lif - scene 12"


@pytest.fixture
def viewer(make_napari_viewer_proxy):
    made = make_napari_viewer_proxy(show=True)
    made.window.resize(1280, 800)
    return made


def test_all_of_a_widget_is_seen_in_a_narrow_dock(viewer, qtbot):
    viewer.add_image(simulated(128)[1], name=LONG, scale=(0.1, 0.1), units="um")
    for name in NAMES:
        dock, widget = viewer.window.add_plugin_dock_widget("napari-deblur", name)
        qtbot.wait(100)
        assert dock.width() < 360, name
        if name == "Train GDUNet":
            widget.sharp.choose(viewer.layers[0])
            assert widget.reads.text() == f'Learns from 1 piece of "{LONG}".'
        if name == "Deblur":
            widget.status.setText(said := f"Done: /data/{LONG}.deblur.zarr")
            assert widget.status.toolTip() == widget.status.text() == said
        qtbot.wait(100)
        dock.window().resizeDocks([dock], [NARROW], Qt.Orientation.Horizontal)
        qtbot.wait(100)
        assert dock.width() <= NARROW, name
        areas = [one for one in widget.findChildren(QScrollArea) if one.isVisible()]
        assert areas, name
        for area in areas:
            room = NARROW - area.verticalScrollBar().sizeHint().width() - 2
            assert area.widget().minimumSizeHint().width() <= room, name
            assert area.widget().width() <= area.viewport().width(), name
        viewer.window.remove_dock_widget(dock)


def test_the_second_widget_has_the_whole_height(viewer, qtbot, monkeypatch):
    monkeypatch.setattr(Deblur, "_look_for_unfinished", lambda self: None)  # there is none
    window = viewer.window
    viewer.open_sample("napari-deblur", "spots")
    first, deblur = window.add_plugin_dock_widget("napari-deblur", "Deblur")
    qtbot.wait(100)
    alone = deblur.height()
    # What lies below the form is seen, however long that is.
    store = Path("/data") / "a_rather_long_name" / "cells.deblur.zarr"
    deblur._offer_to_go_on(Unfinished(store, "cells", (0, 2)))
    deblur.fold.open()
    qtbot.wait(100)
    for button in (deblur.resume, deblur.run):
        assert button.visibleRegion().boundingRect().size() == button.size()
    second, inspector = window.add_plugin_dock_widget("napari-deblur", "Kernel inspector")
    main = first.window()
    qtbot.waitUntil(lambda: main.tabifiedDockWidgets(first) == [second])
    qtbot.waitUntil(lambda: inspector.height() > alone - 60)  # less the tabs
    assert inspector.visibleRegion().boundingRect().height() > 300  # it is the one in front
    assert deblur.visibleRegion().isEmpty()
    # Where the user puts it, it stays.
    for area in (Qt.DockWidgetArea.LeftDockWidgetArea, Qt.DockWidgetArea.RightDockWidgetArea):
        main.addDockWidget(area, second)
    assert not main.tabifiedDockWidgets(first)
    second.hide()
    second.show()
    qtbot.wait(100)
    assert not main.tabifiedDockWidgets(first)


def _cut_off(widget):
    """Give the texts of a form that have too little room, and what scrolls sideways."""
    cut = []
    for label in widget.findChildren(QLabel):
        room = QRect(0, 0, label.width(), 10_000)
        text, metrics = label.text(), label.fontMetrics()
        flags = Qt.TextFlag.TextWordWrap if label.wordWrap() else Qt.TextFlag.TextSingleLine
        needed = metrics.boundingRect(room, flags, text)
        low = needed.height() > label.height() + 3
        if label.wordWrap():  # with its margins
            low = label.heightForWidth(label.width()) > label.height()
        small = needed.width() > label.width() or low
        if label.isVisible() and text and small:
            cut.append(text[:40])
    for box in widget.findChildren(QComboBox):
        needed = box.fontMetrics().horizontalAdvance(box.currentText())
        if box.isVisible() and needed > box.width() - 36:
            cut.append(box.currentText())
    wide = [area.horizontalScrollBar().maximum() for area in widget.findChildren(QScrollArea)]
    return cut + [f"{n} px too wide" for n in wide if n]


def test_no_text_is_cut_off(viewer, qtbot):
    viewer.open_sample("napari-deblur", "movie")
    _, widget = viewer.window.add_plugin_dock_widget("napari-deblur", "Deblur")
    widget.fold.open()
    widget.known.more.open()
    qtbot.wait(500)
    cut = []
    for way in ("find", "psf", "layer", "file"):
        widget.set_way(way)
        for method in methods_for(str(widget.known.way.currentData())):
            widget.method.setCurrentText(method)
            qtbot.wait(100)
            cut += [(way, method, text) for text in _cut_off(widget)]
    widget.set_way("psf")
    for model in MODELS:
        widget.known.model.setCurrentText(model)
        qtbot.wait(100)
        cut += [("psf", model, text) for text in _cut_off(widget)]
    _, widget = viewer.window.add_plugin_dock_widget("napari-deblur", "PSF from optics")
    for model in registry.psfs:
        widget.form.model.setCurrentIndex(widget.form.model.findData(model))
        for box in (widget.form.objective, widget.form.fluorophore):
            box.setCurrentIndex(1)
            box.activated.emit(1)
        for fold in widget.form.findChildren(Fold):
            fold.open()
        qtbot.waitUntil(
            lambda: not widget._timer.isActive() and not widget._drawing, timeout=60_000
        )
        qtbot.wait(100)
        cut += [(model, text) for text in _cut_off(widget)]
    assert not cut
