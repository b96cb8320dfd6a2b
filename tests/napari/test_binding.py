"""A binding of Qt that ends Python is told of."""

import sys

import pytest
import qtpy

from napari_deblur._napari import binding
from napari_deblur._napari.working import Working


@pytest.mark.parametrize(
    ("pyside", "python", "told"),
    [
        ("6.12.0", (3, 11, 7), [binding.CRASHES]),
        ("6.12.0", (3, 12, 0), []),
        ("6.11.3", (3, 11, 7), []),
        (None, (3, 11, 7), []),
    ],
)
def test_a_binding_that_ends_python_is_told_of_once(qtbot, monkeypatch, pyside, python, told):
    from napari.utils import notifications

    said = []
    monkeypatch.setattr(notifications, "show_warning", said.append)
    monkeypatch.setattr(qtpy, "PYSIDE_VERSION", pyside)
    monkeypatch.setattr(sys, "version_info", python)
    binding.tell_of_crashes.cache_clear()
    for _ in range(2):
        qtbot.addWidget(Working())
    assert said == told
    binding.tell_of_crashes.cache_clear()
