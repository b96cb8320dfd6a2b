"""Every widget, docked beside a small window: it takes little of it, and all of it can be seen."""

from pathlib import Path

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QScrollArea

from napari_deblur._napari.resuming import Unfinished
from napari_deblur._napari.samples import simulated

NARROW = 320
NAMES = ("Deblur", "Kernel inspector", "PSF from optics", "PSF from beads", "Train GDUNet")


@pytest.fixture
def window(make_napari_viewer_proxy):
    viewer = make_napari_viewer_proxy(show=True)
    viewer.window.resize(1280, 800)
    viewer.open_sample("napari-deblur", "spots")
    return viewer.window


def test_all_of_a_widget_is_seen_in_a_narrow_dock(window, qtbot):
    for name in NAMES:
        dock, widget = window.add_plugin_dock_widget("napari-deblur", name)
        qtbot.wait(100)
        assert dock.width() < 360, name
        dock.window().resizeDocks([dock], [NARROW], Qt.Orientation.Horizontal)
        qtbot.wait(100)
        assert dock.width() <= NARROW, name
        areas = [one for one in widget.findChildren(QScrollArea) if one.isVisible()]
        assert areas, name
        for area in areas:
            room = NARROW - area.verticalScrollBar().sizeHint().width() - 2
            assert area.widget().minimumSizeHint().width() <= room, name
            assert area.widget().width() <= area.viewport().width(), name
        window.remove_dock_widget(dock)


def test_the_second_widget_has_the_whole_height(window, qtbot):
    first, deblur = window.add_plugin_dock_widget("napari-deblur", "Deblur")
    qtbot.wait(100)
    alone = deblur.height()
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


def test_going_on_is_offered_where_it_was_cancelled(window, qtbot):
    _, deblur = window.add_plugin_dock_widget("napari-deblur", "Deblur")
    store = Path("/data") / "a_rather_long_name" / "cells.deblur.zarr"
    deblur._offer_to_go_on(Unfinished(store, "cells", (0, 2)))
    deblur.fold.open()
    qtbot.wait(100)
    for button in (deblur.resume, deblur.run):
        assert button.visibleRegion().boundingRect().size() == button.size()


def test_long_names_do_not_widen_a_form(make_napari_viewer_proxy, qtbot):
    name = f"2026_03_{'very_' * 20}long.lif - scene 12"
    viewer = make_napari_viewer_proxy(show=True)
    viewer.window.resize(1280, 800)
    viewer.add_image(simulated(128)[1], name=name, scale=(0.1, 0.1), units="um")
    for widget_name in ("Train GDUNet", "Deblur"):
        dock, widget = viewer.window.add_plugin_dock_widget("napari-deblur", widget_name)
        if widget_name == "Train GDUNet":
            widget.sharp.choose(viewer.layers[0])
            assert widget.reads.text() == f'Learns from 1 piece of "{name}".'
        else:
            widget.status.setText(f"Done: /data/{name}.deblur.zarr")
            assert (
                widget.status.toolTip() == widget.status.text() == f"Done: /data/{name}.deblur.zarr"
            )
        qtbot.wait(100)
        dock.window().resizeDocks([dock], [NARROW], Qt.Orientation.Horizontal)
        qtbot.wait(100)
        for area in widget.findChildren(QScrollArea):
            if area.isVisible():
                assert area.widget().width() <= area.viewport().width(), widget_name
        viewer.window.remove_dock_widget(dock)
