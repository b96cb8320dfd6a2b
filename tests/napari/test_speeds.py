"""How long a run takes, by what was seen of the same work before."""

import numpy as np
import pytest

import napari_deblur as nd
from napari_deblur._napari.speeds import Pace, Speeds, Work, computed, of_plan
from napari_deblur.opening import open_stack

KERNEL = nd.Kernel(np.outer([1, 3, 1], [1, 3, 1]))


def test_time_grows_with_voxels_and_iterations():
    speeds = Speeds()
    speeds.learn(Work("cpu rl", 10), 2.0, 1e6)
    assert speeds.of(Work("cpu wiener", 1)) is None
    seconds, voxels = speeds.of(Work("cpu rl", 20))
    assert 1e6 * seconds / voxels == pytest.approx(4)


def test_a_small_piece_says_less_than_a_large_one():
    speeds, work = Speeds(), Work("cpu rl", 10)
    for seconds, voxels in ((9, 1e6), (2, 1e6), (50, 1e3), (0, 1e9)):
        speeds.learn(work, seconds, voxels)
    assert speeds.of(work) == (2, 1e6)


def test_plans_of_one_method_are_of_one_kind(picture):
    stack = open_stack(np.stack([picture] * 2), "cyx", 0.1)

    def work(iterations, name="richardson-lucy"):
        method = nd.methods[name](iterations=iterations)
        return of_plan(nd.plan(stack, method, kernel=KERNEL))

    few, many = work(5), work(20)
    assert few.kind == many.kind
    assert (few.steps, many.steps) == (5, 20)
    assert work(5, "accelerated-richardson-lucy").kind != few.kind


def test_halo_and_kernel_count_as_work():
    assert computed((1, 10, 20), (1, 5, 9)) == 14 * 28


def test_the_pace_of_a_run_leaves_out_what_was_there_and_pauses():
    def said(done, total, seconds, eta, phase="tiles"):
        return {"phase": phase, "done": done, "total": total, "seconds": seconds, "eta": eta}

    pace = Pace()
    pace.hear(said(4, 8, 0.1, None))
    assert pace.each == 0
    pace.hear(said(6, 8, 5.0, 4.0))
    assert pace.each == 2
    pace.hear(said(8, 8, 100.0, 0.0))
    pace.hear(said(1, 9, 100.0, 70.0, "pyramid"))
    assert pace.each == 2
    alone, paused = Pace(), Pace(paused=True)
    for one in (alone, paused):
        one.hear(said(0, 1, 0.1, None))
        one.hear(said(1, 1, 3.0, 0.0))
    assert (alone.each, paused.each) == (3, 0)
