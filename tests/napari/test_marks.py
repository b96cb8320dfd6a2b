"""Marks tell pixels from others."""

import dask.array as da
import numpy as np
import pytest

from napari_deblur._napari.marks import LOOKED_AT, Marks


@pytest.mark.parametrize("shape", [(7,), (4, 30), (3, 20, 21), (3, 1500, 1600)])
def test_pixels_that_were_changed_have_another_mark(shape):
    marks, array = Marks(), np.ones(shape, np.uint16)
    first = marks.of(array)
    assert marks.of(array) == first
    array -= 1
    assert marks.of(array) != first
    array += 1
    assert marks.of(array) == first
    assert marks.of(array.copy()) != first
    assert marks.of(array[..., ::-1]) != first


def test_of_a_large_image_a_part_is_looked_at():
    marks, large = Marks(), np.zeros((3, 1500, 1600), np.uint16)
    assert large.nbytes > LOOKED_AT
    first = marks.of(large)
    large[:, 700:720, 800:820] = 5
    assert marks.of(large) != first


def test_an_array_where_another_lay_in_memory_has_another_mark():
    marks, seen = Marks(), set()
    for _ in range(5):
        seen.add(marks.of(np.zeros((4, 4))))  # gone at once, so the next one takes its place
    assert len(seen) == 5


def test_lazy_pixels_are_not_read(tmp_path):
    marks = Marks()
    lazy = da.random.random((4, 4))
    mapped = np.memmap(tmp_path / "a", np.uint8, "w+", shape=(5, 5))
    for data in (lazy, mapped):
        assert marks.of(data) == marks.of(data)
    assert marks.of(lazy) != marks.of(da.random.random((4, 4)))
    slots = type("Slots", (), {"__slots__": ()})()  # cannot be referred to weakly
    assert marks.of(slots) == marks.of(slots)
