"""A binding of Qt that ends Python by itself: it is told of before work is lost."""

from __future__ import annotations

import sys
from functools import cache

import qtpy

__all__ = ["tell_of_crashes"]

CRASHES = (
    "PySide6 6.12.0 ends any program in Python 3.11 without a word after a while. Install another "
    'one before you go on: pip install "PySide6<6.12", or a newer Python.'
)


@cache
def tell_of_crashes() -> None:
    """Warn, once, of the PySide6 that gives away a reference to True or None with every signal.

    From Python 3.12 on nobody counts those.
    """
    if qtpy.PYSIDE_VERSION == "6.12.0" and sys.version_info < (3, 12):
        from napari.utils.notifications import show_warning

        show_warning(CRASHES)
