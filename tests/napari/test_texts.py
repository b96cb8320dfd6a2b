"""What people type is read as they mean it, or they are asked."""

import pytest

from napari_deblur._napari.camera import CameraRows
from napari_deblur._napari.psf_making import number_of, size_of
from napari_deblur._napari.texts import number


@pytest.mark.parametrize(
    ("text", "value"),
    [("0,108", 0.108), ("1,5", 1.5), ("0.25", 0.25), ("1000", 1000.0), (" 12,25 ", 12.25)],
)
def test_a_comma_before_decimals_is_a_point(text, value):
    assert number(text, "it") == number_of(text, "it") == size_of([text] * 3)[2] == value


@pytest.mark.parametrize("text", ["1,000", "65,535", "1,515"])
def test_a_comma_that_may_stand_between_thousands_is_asked_about(text, qtbot):
    rows = CameraRows()
    qtbot.addWidget(rows)
    rows.lines["offset"].setText(text)
    point, whole = text.replace(",", "."), text.replace(",", "")
    for read in (
        lambda: number(text, "offset"),
        lambda: number_of(text, "offset"),
        lambda: size_of(["", text, "1"]),
        rows.fields,
    ):
        with pytest.raises(ValueError, match=f'"{text}": write {point} or {whole}, without a'):
            read()
