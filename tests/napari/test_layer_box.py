"""Names of layers in boxes that are too narrow for them."""

import pytest
from qtpy.QtCore import QEvent, QPoint, Qt
from qtpy.QtGui import QHelpEvent

from napari_deblur._napari.layer_box import Names
from napari_deblur._napari.offering import offer

LONG = "chromosomes restored [accelerated-richardson-lucy]"


@pytest.fixture
def box(qtbot):
    made = Names("The image to deblur")
    qtbot.addWidget(made)
    made.resize(200, 26)
    layers = [type("Layer", (), {"name": f"{LONG}{end}"}) for end in ("", " 2")]
    offer(made, layers, None, layers[0])
    return made


def test_both_ends_of_a_name_are_seen(box):
    assert box.shown().startswith("chrom")
    assert box.shown().endswith("lucy]")
    assert "…" in box.shown()
    box.setCurrentIndex(1)
    assert box.shown().endswith("] 2")
    box.resize(900, 26)
    assert box.shown() == f"{LONG} 2"


def test_the_whole_name_is_the_tooltip(box, qapp):
    qapp.sendEvent(box, QHelpEvent(QEvent.Type.ToolTip, QPoint(1, 1), QPoint(1, 1)))
    assert box.toolTip() == f"{LONG}\nThe image to deblur"
    assert box.itemData(1, Qt.ItemDataRole.ToolTipRole) == f"{LONG} 2"
    assert box.itemData(1).name == f"{LONG} 2"
