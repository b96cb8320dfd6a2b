"""Boxes of numbers that can be typed exactly, and are written as short as they are."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from magicgui.application import use_app
from magicgui.widgets.bases import RangedWidget
from qtpy.QtGui import QValidator
from qtpy.QtWidgets import QDoubleSpinBox

__all__ = ["FloatRow", "NumberBox", "value_in"]

DECIMALS = 12
# From 0 the arrows go there: the finest step that there is would be of no use.
FIRST = 0.1


class NumberBox(QDoubleSpinBox):  # type: ignore[misc]
    """A box of numbers of any size, written as short as they are; 1e-3 and 0,5 can be typed."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.setDecimals(DECIMALS)

    def stepBy(self, steps: int) -> None:
        """Go up or down, also from 0."""
        if self.value():
            super().stepBy(steps)
        else:
            self.setValue(steps * FIRST)

    def textFromValue(self, value: float) -> str:
        """Write no digits that say nothing."""
        return f"{value:.10g}"

    def valueFromText(self, text: str) -> float:
        """Read what `validate` let through."""
        value = value_in(text)
        return float(self.value()) if value is None else value

    def fixup(self, text: str) -> str:
        """Take the nearest that there is for a number out of bounds."""
        value = value_in(text)
        if value is None:
            return self.textFromValue(self.value())
        return self.textFromValue(min(max(value, self.minimum()), self.maximum()))

    def validate(self, text: str, at: int) -> tuple[Any, str, int]:
        """Let numbers be typed, letter by letter."""
        value = value_in(text)
        state = QValidator.State.Invalid
        if value is not None and self.minimum() <= value <= self.maximum():
            state = QValidator.State.Acceptable
        elif set(text.lower()) <= set("0123456789+-.,e"):
            state = QValidator.State.Intermediate
        return state, text, at


class FloatRow(RangedWidget):  # type: ignore[misc]
    """A number in a form of magicgui, whose own box has two decimals."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "widget_type": _backend()})


@lru_cache(maxsize=1)
def _backend() -> type:
    """Give magicgui's part that speaks to Qt, with our box in place of Qt's."""
    usual: Any = use_app().get_obj("FloatSpinBox")

    class Exact(usual):  # type: ignore[misc]
        def __init__(self, **kwargs: Any) -> None:
            super(usual, self).__init__(NumberBox, **kwargs)

    return Exact


def value_in(text: str) -> float | None:
    """Read a finite number; None where there is none."""
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None
