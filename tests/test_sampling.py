"""Which pieces are looked at for a kernel of a given size."""

import numpy as np
import pytest

from napari_deblur import sampling
from napari_deblur.opening import open_stack


@pytest.fixture
def stack():
    light = np.random.default_rng(0).random((700, 900)).astype(np.float32)
    light[:350] *= 4
    return open_stack(light, axes="yx")


def sides(places):
    return [(y[1] - y[0], x[1] - x[0]) for _, (_, y, x) in places]


def test_small_kernels_are_found_in_the_usual_samples(stack):
    seen = sampling.look(stack, 0, solid=False)
    places = sampling.wide(stack, seen, (1, 31, 31), most=4)
    assert places == sampling.best(seen, most=4)
    assert set(sides(places)) == {(sampling.SIDE, sampling.SIDE)}


def test_samples_are_four_kernels_wide_and_do_not_overlap(stack):
    seen = sampling.look(stack, 0, solid=False)
    places = sampling.wide(stack, seen, (1, 61, 45), most=4)
    assert set(sides(places)) == {(4 * 61, 4 * 45)}
    assert 1 < len(places) <= 4
    for n, (_, (_, y, x)) in enumerate(places):
        for _, (_, v, w) in places[:n]:
            assert y[1] <= v[0] or v[1] <= y[0] or x[1] <= w[0] or w[1] <= x[0]


def test_a_huge_kernel_gets_the_plane(stack, monkeypatch):
    seen = sampling.look(stack, 0, solid=False)
    assert sides(sampling.wide(stack, seen, (1, 191, 191), most=4)) == [(700, 900)]
    monkeypatch.setattr(sampling, "MOST_SIDE", 512)
    assert sides(sampling.wide(stack, seen, (1, 191, 191), most=4)) == [(512, 512)]


def test_volumes_stay_as_they_are(stack):
    seen = sampling.look(stack, 0, solid=True)
    places = sampling.wide(stack, seen, (9, 61, 61), most=2)
    assert places == sampling.best(seen, most=2)
