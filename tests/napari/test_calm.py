"""The wheel over a form: it scrolls, and changes nothing."""

import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QApplication, QComboBox, QDoubleSpinBox, QScrollArea, QSlider, QSpinBox

from napari_deblur._napari.deblur import Deblur
from napari_deblur._napari.samples import movie
from napari_deblur._napari.train import Train


@pytest.fixture
def show(qtbot, tmp_path, monkeypatch):
    from napari_deblur._napari import settings

    monkeypatch.setattr(settings, "_TRAINED", tmp_path)

    def shown(cls):
        viewer = ViewerModel()
        for data, kwargs, _ in movie():
            viewer.add_image(data, **kwargs)
        widget = cls(viewer)
        qtbot.addWidget(widget)
        widget.resize(340, 400)
        widget.show()
        qtbot.wait(50)
        return widget

    return shown


def _boxes(widget):
    kinds = {
        QComboBox: "currentIndex",
        QSpinBox: "value",
        QDoubleSpinBox: "value",
        QSlider: "value",
    }
    return [
        (box, getattr(box, value))
        for kind, value in kinds.items()
        for box in widget.findChildren(kind)
    ]


def _turn(box, notches=-1):
    turned = QWheelEvent(
        QPointF(5, 5), QPointF(box.mapToGlobal(QPoint(5, 5))), QPoint(), QPoint(0, 120 * notches),
        Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase,
        False,
    )  # fmt: skip
    # As Qt does with what comes from a mouse: what is ignored goes to what lies around.
    turned.setAccepted(False)
    while box is not None and not turned.isAccepted():
        turned.setAccepted(True)
        QApplication.sendEvent(box, turned)
        box = None if box.isWindow() else box.parentWidget()


@pytest.mark.parametrize("cls", [Deblur, Train])
def test_the_wheel_scrolls_the_form_and_changes_nothing(show, qtbot, cls):
    widget = show(cls)
    if cls is Deblur:
        widget.fold.open()
        widget.set_way("psf")
        widget.method.setCurrentText("richardson-lucy-tv")  # its rows were not there before
        qtbot.wait(50)
    bar = widget.findChild(QScrollArea).verticalScrollBar()
    scrolled = 0
    boxes = [one for one in _boxes(widget) if one[0].isVisible()]
    assert len(boxes) > 4
    for box, value in boxes:
        for notches in (-1, 1):
            before, at = value(), bar.value()
            _turn(box, notches)
            assert value() == before, box
            scrolled += bar.value() != at
    assert scrolled > 4


def test_a_number_with_the_focus_follows_the_wheel_and_a_choice_never_does(show, qtbot):
    widget = show(Train)
    widget.activateWindow()
    for box, changes in ((widget.iterations, True), (widget.lens, False)):
        box.setFocus()
        qtbot.waitUntil(box.hasFocus)
        value = box.value if changes else box.currentIndex
        before = value()
        _turn(box)
        assert (value() != before) == changes
