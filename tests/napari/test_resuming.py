"""Runs that were interrupted are gone on with for their own image only."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel

import napari_deblur as nd
from napari_deblur._napari.addressing import addressed
from napari_deblur._napari.deblur import Deblur
from napari_deblur._napari.resuming import Unfinished, unfinished
from napari_deblur.opening import open_stack

KERNEL = nd.Kernel(np.outer([1, 3, 1], [1, 3, 1]))


def image(seed, shape=(2, 24, 28)):
    return np.random.default_rng(seed).poisson(30, shape).astype(np.uint16)


@pytest.fixture
def interrupted(tmp_path, scratch):
    """Begin a run of an array in memory, as the widget does, and leave it after a tile."""

    def begin(array, axes, channels=None):
        steps = addressed(open_stack(array, axes, 0.1), None, scratch)
        while True:
            try:
                next(steps)
            except StopIteration as done:
                stack = done.value[0]
                break
        stack = stack if channels is None else stack.selected(channels=channels)
        method = nd.methods["richardson-lucy"](iterations=2)
        store = tmp_path / "a.deblur.zarr"
        tiles = nd.run(nd.plan(stack, method, kernel=KERNEL), store, stack)
        next(tiles)
        next(tiles)
        tiles.close()
        return store

    return begin


def test_another_image_of_the_same_name_and_shape_is_not_gone_on_with(interrupted):
    store = interrupted(image(0), "tyx")
    assert unfinished(store, open_stack(image(1), "tyx", 0.1)) is None
    found = unfinished(store, open_stack(image(0), "tyx", 0.1))
    assert (found.path, found.channels) == (store, None)
    assert abs(datetime.now().astimezone() - found.begun) < timedelta(minutes=5)


def test_a_run_of_some_channels_is_offered_with_those(interrupted):
    whole = image(0, (3, 4, 20, 24))
    store = interrupted(whole, "ctyx", (0, 2))
    assert unfinished(store, open_stack(whole, "ctyx", 0.1)).channels == (0, 2)
    other = whole.copy()
    other[2] += 1
    assert unfinished(store, open_stack(other, "ctyx", 0.1)) is None
    # What was left out may have changed.
    other = whole.copy()
    other[1] += 1
    assert unfinished(store, open_stack(other, "ctyx", 0.1)).channels == (0, 2)
    assert unfinished(store, open_stack(whole[:2], "ctyx", 0.1)) is None


def test_what_a_run_is_of_is_said():
    path = Path("/data/a.deblur.zarr")
    begun = datetime(2026, 3, 1, 14, 5)
    assert Unfinished(path).said() == f"An unfinished run lies in {path}."
    assert Unfinished(path, "cells", None, begun).said() == (
        f"An unfinished run of “cells”, begun on 2026-03-01 at 14:05, lies in {path}."
    )
    assert Unfinished(path, "cells", (0, 2), begun).said() == (
        "An unfinished run of “cells”, channels 0, 2, begun on 2026-03-01 at 14:05, lies in "
        f"{path}."
    )


@pytest.fixture
def widget(qtbot):
    viewer = ViewerModel()
    made = Deblur(viewer)
    qtbot.addWidget(made)
    for event in (viewer.layers.events.inserted, viewer.layers.events.removed):
        event.connect(made.reset_choices)
    for n in (1, 0):
        viewer.add_image(image(n, (2, 24, 28)), name=f"cells {n}", axis_labels=("c", "y", "x"),
                         scale=(1, 0.1, 0.1), units=("pixel", "um", "um"))  # fmt: skip
    return made


def test_the_channels_of_the_run_are_gone_on_with(widget, monkeypatch):
    begun = []
    monkeypatch.setattr(widget, "_begin", lambda *given: begun.append(given))
    widget.set_way("psf")  # what else the form lacks does not matter
    path = Path("/a.deblur.zarr")
    widget._found_unfinished(widget.chosen(), Unfinished(path, "cells 0", (0,)))
    widget.channels._rows[0][0].setChecked(False)  # in the form the other one is ticked
    assert widget.stack().pixels.channels == (1,)
    widget.start_again()
    [(request, layer, stack, _)] = begun
    assert request == {"resume": str(path)}
    assert (layer.name, stack.pixels.channels) == ("cells 0", (0,))


def test_nothing_is_offered_that_was_found_for_another_image(widget):
    found = Unfinished(Path("/a.deblur.zarr"), "cells 0")
    widget._found_unfinished(widget.viewer.layers["cells 1"], found)
    assert widget.unfinished_row.isHidden()
    widget._found_unfinished(widget.viewer.layers["cells 0"], found)
    assert not widget.unfinished_row.isHidden()
    widget.layer.setCurrentText("cells 1")
    assert widget.unfinished_row.isHidden()
