"""Every widget, docked beside a small window: it takes little of it, and all of it can be seen."""

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QScrollArea

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
