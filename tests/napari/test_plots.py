"""Charts: the numbers at a logarithmic axis."""

import numpy as np
import pytest

pytest.importorskip("pyqtgraph")

from napari_deblur._napari.plots import LineChart


@pytest.mark.parametrize(
    ("low", "high", "numbers"),
    [
        (0.052, 0.078, ["0.055", "0.06", "0.065", "0.07", "0.075"]),
        (0.0612, 0.0628, ["0.0615", "0.062", "0.0625"]),
        (0.9, 30, ["1", "2", "5", "10", "20"]),
        (3e-7, 40, ["1e-06", "1e-05", "0.0001", "0.001", "0.01", "0.1", "1", "10"]),
    ],
)
def test_a_logarithmic_axis_has_numbers_whatever_it_spans(qtbot, low, high, numbers):
    chart = LineChart("Loss", "iteration", "loss", log=True)
    qtbot.addWidget(chart)
    axis = chart.plot.getAxis("left")
    [(spacing, ticks)] = axis.tickValues(np.log10(low), np.log10(high), 150)
    shown = axis.tickStrings(ticks, 1, spacing)
    assert [text for text in shown if low <= float(text) <= high] == numbers
    assert len(shown) <= len(numbers) + 2
