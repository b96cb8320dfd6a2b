"""Runs of the widget without a window: a word before much is done, a pause, going on later."""

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.utils import notifications

from napari_deblur._napari import requests
from napari_deblur._napari.deblur import Deblur
from napari_deblur._napari.reader import read
from napari_deblur._napari.samples import simulated
from napari_deblur.results import open_result
from napari_deblur.verifying import verify

FRAMES = 8
MOVIE = {
    "name": "cells", "scale": (1, 0.1, 0.1), "units": ("s", "um", "um"),
    "axis_labels": ("t", "y", "x"), "translate": (5, 3, -2), "colormap": "magenta",
}  # fmt: skip


@pytest.fixture
def opened(qapp, qtbot, monkeypatch):
    """Give a new viewer with the movie and the widget, as after a restart."""
    monkeypatch.setattr(notifications, "show_error", pytest.fail)

    def make(iterations):
        viewer = ViewerModel()
        widget = Deblur(viewer)
        qtbot.addWidget(widget)
        viewer.layers.events.inserted.connect(widget.reset_choices)
        r = np.arange(9) - 4
        kernel = np.exp(-(r[:, None] ** 2 + r**2) / 8)
        viewer.add_image(kernel, name="psf", scale=(0.1, 0.1), units="um", axis_labels=("y", "x"))
        viewer.add_image(np.stack([simulated(96)[0]] * FRAMES), **MOVIE)
        widget.set_way("layer")
        widget.kernel_layer.setCurrentText("psf")
        widget.method.setCurrentText("richardson-lucy")
        widget._forms["richardson-lucy"]["iterations"].value = iterations
        return widget

    return make


def test_a_run_waits_for_a_word_pauses_and_goes_on_after_a_restart(
    opened, qtbot, monkeypatch, scratch
):
    widget = opened(300)
    assert widget.layer.currentText() == "cells"
    monkeypatch.setattr(requests, "deserves_a_question", lambda *_: True)
    widget.run.click()
    qtbot.waitUntil(lambda: widget.pause.text() == "Start", timeout=60_000)
    assert "Press Start" in widget.costs.text()
    assert widget.costs.text().startswith(f"{FRAMES} tiles, ")
    assert not (scratch / "cells.deblur.zarr").exists()
    widget.pause.click()
    assert widget.pause.text() == "Pause"
    qtbot.waitUntil(lambda: widget.bar.value() > 0, timeout=60_000)
    widget.pause.click()
    assert widget.pause.text() == "Go on"
    assert widget.status.text().startswith("Paused. ")
    qtbot.wait(1000)
    done = widget.bar.value()
    qtbot.wait(1500)
    assert widget.bar.value() == done < FRAMES
    widget.cancel.click()
    qtbot.waitUntil(lambda: not widget.busy(), timeout=10_000)
    assert widget.pause.text() == "Pause"
    store = scratch / "cells.deblur.zarr"
    qtbot.waitUntil(lambda: not widget.unfinished_row.isHidden(), timeout=10_000)
    # What is done of it, opened from the disk, lies where its image lies.
    _, kwargs, _ = read(str(store))[0]
    assert (kwargs["translate"], kwargs["colormap"]) == ((5, 3, -2), "magenta")
    assert {one.kind for one in verify(store)} <= {"incomplete"}

    again = opened(5)  # with other numbers: those of the store count
    qtbot.waitUntil(lambda: not again.unfinished_row.isHidden(), timeout=10_000)
    said = again.unfinished.text()
    assert said.startswith("An unfinished run of “cells”, begun on 20")
    assert said.endswith(f", lies in {store}.")
    monkeypatch.setattr(requests, "deserves_a_question", lambda *_: False)
    again.resume.click()
    qtbot.waitUntil(lambda: not again.busy(), timeout=90_000)
    assert again.status.text().startswith("Done: ")
    result = open_result(store)
    assert result.complete
    assert result.plan.channels[0].method.iterations == 300
    assert np.isfinite(
        np.asarray(again.viewer.layers["cells restored [richardson-lucy]"].data[0])
    ).all()
    qtbot.waitUntil(again.unfinished_row.isHidden, timeout=10_000)
