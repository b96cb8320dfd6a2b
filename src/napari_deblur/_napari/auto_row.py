"""A number that the program decides unless somebody gives it: a tick, and a box beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin, get_type_hints

from qtpy.QtCore import QSignalBlocker
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QCheckBox,
    QHBoxLayout,
    QSizePolicy,
    QSpinBox,
    QWidget,
)

from napari_deblur._napari.number_box import NumberBox, value_in

__all__ = ["AutoRow", "kind_of", "limits"]

AUTO = "auto"
MOST = {int: 10_000, float: 1e9}
HALVINGS = 70
# Where a number begins that nobody decided yet.
USUAL = {int: 20, float: 1.0}


class AutoRow(QWidget):  # type: ignore[misc]
    """A tick "auto" and a box with the bounds of a field, in place of the line of a form.

    Parameters
    ----------
    row : magicgui LineEdit
        What holds the value, as a text.
    cls : type
        The dataclass of the form, which refuses what is out of bounds.
    kind : int or float
    """

    def __init__(self, row: Any, cls: type, kind: type) -> None:
        super().__init__()
        self._row = row
        self.setToolTip(row.tooltip)
        self.auto = QCheckBox(AUTO)
        self.auto.setToolTip(
            "Let the program decide, on samples of the image; a number is that of the last preview"
        )
        self.number: Any = QSpinBox() if kind is int else NumberBox()
        self.number.setRange(*limits(cls, row.name, kind))
        self.number.setValue(USUAL[kind])
        # While it is typed a number is no other one, such as the 0 of 0.2.
        self.number.setKeyboardTracking(False)
        self.number.setToolTip(row.tooltip)
        self.number.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.number.setStepType(QAbstractSpinBox.StepType.AdaptiveDecimalStepType)
        both = QHBoxLayout(self)
        both.setContentsMargins(0, 0, 0, 0)
        both.addWidget(self.auto)
        both.addWidget(self.number, 1)
        self._show(row.value)
        self.auto.toggled.connect(self._take)
        self.number.valueChanged.connect(self._take)
        row.changed.connect(self._show)

    def decided(self, *values: float) -> None:
        """Say what the program decided for each channel, the one that is looked at first.

        Who wants another number begins there.
        """
        if not self.auto.isChecked():
            return
        with QSignalBlocker(self.number):
            self.number.setValue(values[0])
        least, most = (f"{value:.4g}" for value in (min(values), max(values)))
        self.auto.setText(f"{AUTO}: {least}" + (f" … {most}" if most != least else ""))

    def forget(self) -> None:
        """Say nothing any more of what was decided."""
        self.auto.setText(AUTO)
        if self.auto.isChecked():
            with QSignalBlocker(self.number):
                self.number.setValue(USUAL[type(self.number.value())])

    def leave(self) -> None:
        """Let the program decide again."""
        self._row.value = AUTO
        self.forget()

    def settle(self) -> None:
        """Take what is being typed."""
        self.number.interpretText()

    def _take(self, *_: Any) -> None:
        auto = self.auto.isChecked()
        self.number.setVisible(not auto)
        self._row.value = AUTO if auto else f"{self.number.value():.10g}"

    def _show(self, text: str) -> None:
        """Follow the form's value; a text that is no number stays there, and is told of."""
        text = str(text).strip().lower()
        with QSignalBlocker(self.auto), QSignalBlocker(self.number):
            self.auto.setChecked(text in ("", AUTO))
            self.number.setVisible(not self.auto.isChecked())
            if self.auto.isChecked() or (value := value_in(text)) is None:
                return
            number = type(self.number.value())(value)
            if number != self.number.value():  # what is being typed is not written anew
                self.number.setValue(number)


def kind_of(cls: type, name: str) -> type | None:
    """Give int or float for a field that is one number or "auto", else None."""
    members = get_args(get_type_hints(cls).get(name))
    words = [word for m in members if get_origin(m) is Literal for word in get_args(m)]
    kinds = [m for m in members if get_origin(m) is not Literal]
    return kinds[0] if words == [AUTO] and kinds in ([int], [float]) else None


def limits(cls: type, name: str, kind: type) -> tuple[Any, Any]:
    """Give the least and the largest number that a dataclass takes for one of its fields."""

    def takes(value: Any) -> bool:
        try:
            cls(**{name: kind(value)})
        except (ValueError, TypeError):
            return False
        return True

    inside = next((v for v in (0, 1, 0.1, 0.01) if takes(v)), 1)
    most = MOST[kind]
    return _edge(takes, inside, -most, kind), _edge(takes, inside, most, kind)


def _edge(takes: Callable[[Any], bool], inside: Any, far: Any, kind: type) -> Any:
    if takes(far):
        return far
    for _ in range(HALVINGS):
        middle = kind((inside + far) / 2)
        if middle in (inside, far):
            break
        inside, far = (middle, far) if takes(middle) else (inside, middle)
    return inside
