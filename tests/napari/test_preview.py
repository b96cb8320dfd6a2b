"""Previews, without a window."""

from dataclasses import replace
from threading import Event

import numpy as np
import pytest

import napari_deblur as nd
from napari_deblur._napari.asking import Ask, deciding, free_path
from napari_deblur._napari.preview import Window, bounded, previewing
from napari_deblur.opening import open_stack
from napari_deblur.protocols import Cancelled

KERNEL = nd.Kernel(np.outer([1, 3, 1], [1, 3, 1]))


def _finish(steps):
    said = []
    while True:
        try:
            said.append(next(steps))
        except StopIteration as done:
            return done.value, said


@pytest.mark.parametrize(
    "method",
    # The network bins pixels: a preview must bin those that the run does.
    [nd.methods["richardson-lucy"](iterations=10), nd.methods["gdunet"](kernel="given")],
    ids=lambda method: type(method).__name__,
)
def test_preview_equals_the_run_to_the_seam(picture, method):
    stack = open_stack(picture, "yx", 0.1)
    ask = Ask.of(method, KERNEL, device="cpu")
    window = Window(0, (0,), ((0, 1), (21, 60), (30, 90)), 0)
    preview, said = _finish(previewing(ask, stack, window, None, lambda: False))
    assert said[0] == "loading the engine"
    whole = nd.deconvolve(preview.plan, stack).compute()
    apart = preview.image[0, 0] - whole[21:60, 30:90]
    # What a network knows of a pixel ends nowhere: its seam is a root mean square.
    learned = getattr(method, "learned", False)
    difference = np.sqrt((apart**2).mean()) if learned else np.abs(apart).max()
    assert difference < 1e-3 * picture.max()


def test_plan_of_the_last_preview_is_used_again(picture):
    stack = open_stack(picture, "yx", 0.1)
    ask = Ask.of(nd.methods["wiener"](), KERNEL, device="cpu")
    window = Window(0, (0,), ((0, 1), (0, 40), (0, 40)), 0)
    first, _ = _finish(previewing(ask, stack, window, None, lambda: False))
    second, said = _finish(previewing(ask, stack, window, first.plan, lambda: False))
    assert second.plan is first.plan
    assert len(said) == 2


def test_cancelling_takes_one_iteration(picture):
    stack, cancelled, looked = open_stack(picture, "yx", 0.1), Event(), []

    def asked():
        looked.append(cancelled.is_set())
        if len(looked) == 5:
            cancelled.set()
        return cancelled.is_set()

    ask = Ask.of(nd.methods["richardson-lucy"](iterations=500), KERNEL, device="cpu")
    window = Window(0, (0,), ((0, 1), (0, 96), (0, 96)), 0)
    with pytest.raises(Cancelled):
        _finish(previewing(ask, stack, window, None, asked))
    assert len(looked) == 5


def test_kernel_is_found_in_the_shape_that_was_asked_for(picture):
    stack = open_stack(picture, "yx", 0.1)
    method = nd.methods["blind-richardson-lucy"](rounds=2, steps=2, iterations=2)
    plan, said = _finish(deciding(Ask.of(method, shape=(1, 9, 9)), stack))
    assert plan.kernel.shape == (1, 9, 9)
    assert any(sentence.startswith("finding the kernel") for sentence in said)


def test_askings_are_told_apart():
    wiener = nd.methods["wiener"]
    ask = Ask.of(wiener(noise=3.0), KERNEL, device="cpu")
    assert Ask.of(wiener(noise=3.0), KERNEL, device="cpu").key == ask.key
    other = nd.Kernel(np.outer([1, 2, 1], [1, 2, 1]))
    assert Ask.of(wiener(noise=3.0), other, device="cpu").key != ask.key
    assert Ask.of(wiener(noise=4.0), KERNEL, device="cpu").key != ask.key


def test_window_is_bounded_around_what_is_seen():
    wide = Window(0, (0,), ((0, 300), (0, 4000), (0, 4000)), 290)
    flat = bounded(wide, (1, 9, 9)).box
    assert flat[0] == (290, 291)
    solid = bounded(wide, (15, 9, 9)).box
    assert solid[0] == (252, 300)
    for box in (flat, solid):
        assert np.prod([b - a for a, b in box]) <= 2**21
        assert abs(sum(box[1]) - 4000) <= 1
        assert box[1] == box[2]
    # Of what was drawn, planes go first.
    drawn = replace(wide, box=((0, 300), (0, 400), (0, 400)), chosen=True)
    (z0, z1), *plane = bounded(drawn, (1, 9, 9)).box
    assert plane == [(0, 400), (0, 400)]
    assert z1 - z0 == 2**21 // 400**2
    assert z0 <= 290 < z1
    small = Window(0, (0,), ((0, 1), (5, 9), (5, 9)), 0)
    assert bounded(small, (1, 9, 9)) == small


def test_results_are_never_overwritten(tmp_path, picture):
    stack = open_stack(picture, "yx", 0.1)
    path = tmp_path / "a.deblur.zarr"
    assert free_path(path, "key") == path
    plan = nd.plan(stack, "wiener", kernel=KERNEL)
    for _ in nd.run(plan, path, stack):
        pass
    assert free_path(path, plan.key) == path
    assert free_path(path, "other") == tmp_path / "a-2.deblur.zarr"
    (tmp_path / "a-2.deblur.zarr").mkdir()
    assert free_path(path, "other") == tmp_path / "a-3.deblur.zarr"
