"""What is said of a run: short sentences for everybody, the rest as details."""

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtWidgets import QScrollArea

import napari_deblur as nd
from napari_deblur._napari import runs
from napari_deblur._napari.adding import turn_to
from napari_deblur._napari.belonging import DRAWN
from napari_deblur._napari.deblur import Deblur
from napari_deblur._napari.low import LINES
from napari_deblur._napari.resuming import unfinished
from napari_deblur._napari.telling import details, verdicts
from napari_deblur.opening import open_stack

KERNEL = np.outer([1, 2, 3, 2, 1], [1, 2, 3, 2, 1]).astype(np.float32)
PLACE = {"scale": (2.0, 0.1, 0.1), "translate": (0.0, 0.0, 0.0), "units": ("pixel", "um", "um"),
         "axis_labels": ("c", "y", "x")}  # fmt: skip


class Plan:
    """A plan of two channels with reports of its kernels."""

    def __init__(self, *reports, names=("", "")):
        self.kernel = type("K", (), {"report": {"channels": list(reports)}})
        if len(reports) == 1:
            self.kernel.report = reports[0]
        channels = tuple(type("C", (), {"name": name}) for name in names)
        self.layout = type("L", (), {"channels": channels})


@pytest.mark.parametrize(
    ("report", "said"),
    [
        ({"verdict": "believe", "why": "many things"}, "The kernel can be believed."),
        ({"doubt": ""}, "The kernel can be believed."),
        ({"doubt": "it reaches the border (7 %); more"},
         "The kernel is doubtful: it reaches the border."),
        ({"doubt": "word " * 30}, "The kernel is doubtful."),
        ({}, "The kernel was not judged."),
        ({"verdict": "nothing to deblur", "why": "it is sharp"},
         "There is nothing to deblur: it is left as it is."),
        ({"frames": [{"verdict": "believe", "why": ""}, {"verdict": "doubtful", "why": ""}]},
         "The kernels can be believed in 1 of 2 frames."),
        ({"frames": [{"verdict": v, "why": ""} for v in ("believe", "nothing to deblur")]},
         "The kernels can be believed in 1 of 1 frame; in 1 more there is nothing to deblur, and "
         "they are left as they are."),
        ({"frames": [{"verdict": "nothing to deblur", "why": ""}] * 2},
         "There is nothing to deblur: it is left as it is."),
    ],
)  # fmt: skip
def test_a_verdict_is_one_short_sentence(report, said):
    assert verdicts(Plan(report)) == [said]


def test_each_channel_has_its_sentence():
    good, bad = {"doubt": ""}, {"verdict": "nothing to deblur", "why": ""}
    assert verdicts(Plan(good, bad, names=("nuclei", ""))) == [
        "The kernel of nuclei can be believed.",
        "There is nothing to deblur in channel 1: it is left as it is.",
    ]


def test_a_channel_has_the_number_that_it_has_in_the_image():
    told = verdicts(Plan({"doubt": ""}, {"doubt": ""}, names=("", "")), (0, 2))
    assert told == [
        "The kernel of channel 0 can be believed.",
        "The kernel of channel 2 can be believed.",
    ]


def test_details_have_a_line_for_each_note():
    image = np.random.default_rng(0).poisson(50, (24, 30)).astype(np.uint16)
    plan = nd.plan(open_stack(image, "yx", 0.1), "accelerated-richardson-lucy", kernel=KERNEL)
    text = details(plan)
    assert text.count("• ") == len(plan.notes) > 0
    assert "unmatched" not in text
    assert "\n\ninput: " in text


@pytest.fixture
def widget(qtbot):
    made = Deblur(ViewerModel())
    qtbot.addWidget(made)
    return made


def test_long_texts_do_not_squeeze_the_form(widget, qtbot):
    widget.resize(330, 760)
    widget.show()
    form = widget.findChild(QScrollArea)
    widget.status.setText("Done")
    qtbot.wait(100)
    before, line = form.height(), widget.status.fontMetrics().lineSpacing()
    widget.status.setText("Something is to be said of the run. " * 60)
    widget.say_details("A note.\n" * 200)
    widget.details.open()
    qtbot.wait(100)
    assert before - form.height() <= LINES * line
    assert widget.plan.height() < 200
    widget.say_details("")
    assert widget.details.isHidden()


class Child:
    """A run that says what it is told to say, and can be cancelled."""

    def __init__(self, request, hear):
        self.said, self.cancelled = [], False

    def messages(self):
        while self.said:
            yield self.said.pop(0)

    def cancel(self):
        self.cancelled = True
        self.said.append({"ended": ""})


@pytest.fixture
def run(qapp, monkeypatch):
    monkeypatch.setattr(runs, "Child", Child)
    told = []
    made = runs.Run(ViewerModel(), {}, PLACE, "cells", {}, None, lambda *said: told.append(said[0]))
    made.told = told
    return made


def _progress(done, **others):
    return {"progress": {"phase": "tiles", "done": done, "total": 9, "eta": None, "failed": 0,
                         "note": "", "index": None, **others}}  # fmt: skip


def _layers():
    """Give what a run that has begun shows."""
    about = {"metadata": {"deblur": {"store": "/a"}, DRAWN: (2, 4, 4)}, **PLACE}
    of_kernels = {**about, "metadata": {**about["metadata"], "kernel_pixel_size": None}}
    restored = (np.full((2, 4, 4), np.nan), {"name": "restored", **about}, "image")
    kernels = (np.ones((2, 3, 3)), {"name": "kernels", **of_kernels}, "image")
    return {"layers": {"restored": restored, "kernels": kernels}, "details": "", "verdicts": []}


def _show(run):
    run.poll()
    while run._showing is not None:
        run.poll()


def test_a_run_that_was_cancelled_before_its_first_tile_leaves_no_layer(run):
    run.child.said.append(_layers())
    _show(run)
    assert len(run.viewer.layers) == 2
    run.child.said.append(_progress(0))
    assert run.poll()
    run.cancel()
    assert not run.poll()
    assert run.told[-1] == "Cancelled before anything was restored."
    assert not run.viewer.layers


def test_a_layer_that_was_there_before_a_run_stays(run):
    message = _layers()
    data, kwargs, _ = message["layers"].pop("kernels")
    data, kwargs, _ = message["layers"]["restored"]
    there = run.viewer.add_image(data, **kwargs)
    run.child.said.append(message)
    _show(run)
    run.cancel()
    assert not run.poll()
    assert list(run.viewer.layers) == [there]


def test_a_projection_of_a_layer_is_not_taken_for_it(run):
    message = _layers()
    data, kwargs, _ = message["layers"]["restored"]
    there = run.viewer.add_image(data.max(axis=0, keepdims=True), **kwargs)
    run.child.said.append(message)
    _show(run)
    assert len(run.viewer.layers) == 3
    assert there.data.shape == (1, 4, 4)


def test_iterations_are_told_within_a_tile(run):
    seen = []
    run.tell = lambda *said: seen.append(said)
    run.child.said += [_progress(0, total=1), {"step": {"count": 5, "of": 40}}]
    run.poll()
    assert seen[-1] == ("Tile 0 of 1 (iteration 5 of 40)", 5, 40)
    # More than were planned: nobody knows how many there will be.
    run.child.said.append({"step": {"count": 50, "of": 40}})
    run.poll()
    assert seen[-1] == ("Tile 0 of 1 (iteration 50)", 0, 0)
    run.child.said += [_progress(2, seconds=3.0), {"step": {"count": 7, "of": None}}]
    run.poll()
    assert seen[-1] == ("Tile 2 of 9 (iteration 7)", 2, 9)
    run.child.said += [_progress(1, total=1, seconds=9.0), {"step": {"count": 1, "of": 40}}]
    run.poll()
    assert seen[-1] == ("Tile 1 of 1", 1, 1)


@pytest.mark.parametrize("large", [False, True])
def test_a_large_volume_in_3d_is_drawn_anew_at_the_end_only(run, monkeypatch, large):
    refreshed = []
    run.child.said.append(_layers())
    _show(run)
    run.viewer.dims.ndisplay = 3
    run._views["restored"] = run.viewer.layers["restored"].data
    monkeypatch.setattr(runs, "LARGE_VOLUME", 31 if large else 32)
    monkeypatch.setattr(run._layers["restored"], "refresh", lambda *_: refreshed.append(1))
    run.child.said.append(_progress(1, seen=True) | {"seen": True})
    run.poll()
    assert len(refreshed) == (0 if large else 1)
    run.child.said.append({"ended": ""})
    run.poll()
    assert len(refreshed) == 1


def test_a_run_that_was_cancelled_later_kept_something(run):
    run.child.said.append(_progress(2))
    run.cancel()
    run.poll()
    assert run.told[-1] == (
        "Cancelled (Tile 2 of 9). What is done is kept; Run goes on from there."
    )


def test_a_run_that_was_done_when_it_was_cancelled_is_done(run):
    message = _layers()
    message["layers"]["restored"][1]["contrast_limits"] = run._limits = (0.0, 9.0)
    run.child.said.append(message)
    _show(run)
    run.child.said.append(_progress(9))
    run.poll()
    # What is heard after a cancel is not looked at in the thread, so there are no limits.
    done = {"output": "/a", "phase": "complete", "note": "", "emptied": 0}
    run.child.said.append({"done": done})
    run.cancel()
    assert not run.poll()
    assert run.told[-1].startswith("Done: /a")


def test_a_run_without_a_tile_is_none_to_go_on_with(tmp_path):
    import tifffile

    tifffile.imwrite(tmp_path / "a.tif", np.full((2, 16, 16), 9, np.uint16))
    stack = open_stack(tmp_path / "a.tif", "tyx", 0.1)
    plan = nd.plan(stack, nd.methods["richardson-lucy"](iterations=2), kernel=KERNEL)
    path = tmp_path / "a.deblur.zarr"
    steps = nd.run(plan, path, stack)
    next(steps)
    assert path.exists()
    assert unfinished(path, stack) is None
    next(steps)
    assert unfinished(path, stack).path == path
    steps.close()


@pytest.mark.parametrize(
    ("picked", "now", "then"),
    [
        ((1,), 0, 1),
        ((0, 2), 1, 0),
        ((0, 2), 2, 2),
        ((1, 2), 0, 1),
        ((0, 1), 1, 1),
        ((0, 1, 3), 2, 1),
    ],
)
def test_the_slider_goes_to_a_channel_that_was_restored(qapp, picked, now, then):
    viewer = ViewerModel()
    viewer.add_image(np.zeros((4, 3, 8, 8)), name="others")
    viewer.add_image(np.zeros((3, 8, 8)), **PLACE)
    viewer.dims.set_point(1, now * 2.0)
    placed = runs.picked_channels(PLACE, picked)
    layer = viewer.add_image(np.zeros((len(picked), 8, 8)), **placed)
    turn_to(viewer, layer, PLACE, picked)
    assert viewer.dims.point[1] == then * 2.0
