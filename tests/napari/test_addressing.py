"""Pixels of a layer where another process can read them."""

import os
from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr

from napari_deblur._napari.addressing import addressed
from napari_deblur.opening import open_stack, reopen
from napari_deblur.pixels import Pixels
from napari_deblur.stack import Channel, Optics


def _finish(steps):
    said = []
    while True:
        try:
            said.append(next(steps))
        except StopIteration as done:
            return (*done.value, " ".join(said))


def _same(a, b):
    assert (a.axes, a.shape, a.rgb, a.dtype) == (b.axes, b.shape, b.rgb, b.dtype)
    for t, c in np.ndindex(a.shape[:2]):
        np.testing.assert_array_equal(a.read(t, c), b.read(t, c))


@pytest.fixture
def file(tmp_path):
    array = np.random.default_rng(1).integers(0, 999, (2, 3, 12, 14), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.ome.tif", array, metadata={"axes": "CZYX"})
    return tmp_path / "a.ome.tif", array


def test_unchanged_file_is_the_address(file, scratch):
    path, array = file
    found, copy, _ = _finish(addressed(open_stack(array, "czyx"), str(path), scratch))
    assert copy is None
    assert found.source.address == str(path)
    assert not scratch.exists()


def test_layer_of_one_channel_is_found_in_the_file(file, scratch):
    path, array = file
    stack = open_stack(array[1], "zyx")
    found, copy, _ = _finish(addressed(stack, str(path), scratch))
    assert copy is None
    np.testing.assert_array_equal(reopen(found.source).read(0, 0), array[1])


@pytest.mark.parametrize("lazy", [False, True])
def test_changed_pixels_are_copied_and_it_is_said(file, scratch, lazy):
    path, array = file
    changed = array.copy()
    changed[:, 1, 3, 3] += 1
    data = da.from_array(changed, chunks=(1, 1, 12, 14)) if lazy else changed
    stack = open_stack(data, "czyx")
    found, copy, said = _finish(addressed(stack, str(path), scratch))
    assert copy.parent == scratch
    assert "copying" in said
    assert "in memory only" in said
    _same(found, stack)
    _same(reopen(found.source), stack)


@pytest.mark.parametrize("how", ["same", "corrected", "zarr", "object", "memory"])
def test_of_a_lazy_layer_a_single_corrected_frame_is_seen(tmp_path, scratch, monkeypatch, how):
    array = np.random.default_rng(3).integers(0, 999, (30, 12, 14), dtype=np.uint16)
    path = tmp_path / "a.zarr"
    stored = zarr.create_array(
        path, data=array, dimension_names=["t", "y", "x"], chunks=(1, 12, 14)
    )
    data = da.from_zarr(str(path))
    if how == "corrected":
        data = da.concatenate([data[:5], data[5:6] + np.uint16(1), data[6:]])
    elif how == "same":
        data = data.map_blocks(lambda block: block)
    elif how != "zarr":
        data = da.from_array(stored if how == "object" else array, chunks=(1, 12, 14))
    read, take = [], Pixels.read
    monkeypatch.setattr(Pixels, "read", lambda *given: read.append(given[1]) or take(*given))
    stack = replace(open_stack(data, "tyx"), source=None)
    found, copy, _ = _finish(addressed(stack, str(path), scratch))
    assert (copy is not None) == (how == "corrected")
    np.testing.assert_array_equal(found.read(5, 0)[0], array[5] + (how == "corrected"))
    # What comes from the disk as it is costs some planes only.
    assert (set(read) == set(range(30))) == (how not in ("zarr", "object"))


def test_a_long_comparison_can_be_cancelled(tmp_path, scratch):
    array = np.zeros((40, 12, 14), np.uint16)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, array, metadata={"axes": "TYX"})
    steps = addressed(open_stack(array, "tyx"), str(path), scratch)
    assert len([None for _ in steps]) > 40  # a chance to stop after each frame


@pytest.mark.parametrize(
    ("shape", "axes"), [((7, 9), "yx"), ((2, 3, 4, 7, 9), "tczyx"), ((4, 7, 9, 3), "zyxs")]
)
def test_copy_of_any_axes_is_the_same(scratch, shape, axes):
    stack = open_stack(np.random.default_rng(2).integers(0, 255, shape, dtype=np.uint8), axes)
    found, _, _ = _finish(addressed(stack, None, scratch))
    _same(found, stack)
    _same(reopen(found.source), stack)


def test_a_copy_says_all_that_is_known_of_the_image(scratch):
    array = np.zeros((2, 2, 4, 7, 9), np.uint8)  # chunks of nothing but zeros are not lost ones
    stack = replace(
        open_stack(array, "tczyx", (0.4, None, 0.1)),
        name="my cells: 1/2",
        time_step=2.5,
        channels=(Channel("GFP", "#00ff00", 0.52), Channel()),
        optics=Optics(na=1.2, n_immersion=1.33),
    )
    found, copy, _ = _finish(addressed(stack, None, scratch))
    opened = open_stack(found.source.address)
    _same(opened, stack)
    for name in ("name", "pixel_size", "time_step", "channels", "optics"):
        assert getattr(opened, name) == getattr(stack, name)
    # Other words are another copy.
    later = replace(stack, time_step=5.0)
    found, other, _ = _finish(addressed(later, None, scratch, (found, copy)))
    assert other != copy
    assert open_stack(found.source.address).time_step == 5.0


def test_copy_is_taken_again_as_long_as_the_pixels_are_the_same(scratch):
    array = np.ones((5, 6), np.uint8)
    stack = open_stack(array, "yx")
    found, copy, _ = _finish(addressed(stack, None, scratch))
    assert _finish(addressed(stack, None, scratch, (found, copy)))[1] == copy
    array[2, 3] = 7
    again, other, _ = _finish(addressed(stack, None, scratch, (found, copy)))
    assert other != copy
    _same(again, stack)


def test_zarr_array_is_its_own_address(tmp_path, scratch):
    array = zarr.create_array(tmp_path / "a.zarr", shape=(8, 8), chunks=(4, 4), dtype="u1")
    found, copy, _ = _finish(addressed(open_stack(array, "yx"), None, scratch))
    assert copy is None
    assert found.source.address == str(tmp_path / "a.zarr")


def test_file_that_is_gone_is_no_address(scratch):
    stack = open_stack(np.ones((5, 6), np.uint8), "yx")
    _, copy, _ = _finish(addressed(stack, "/nowhere/a.tif", scratch))
    assert copy is not None


def test_copy_of_the_same_pixels_has_the_same_address_in_every_session(scratch):
    array = np.random.default_rng(5).integers(0, 255, (5, 6), dtype=np.uint8)
    first, other = (
        _finish(addressed(open_stack(one, "yx"), None, scratch)) for one in (array, array.copy())
    )
    assert first[1] == other[1]
    assert first[0].source == other[0].source
    assert list(scratch.iterdir()) == [first[1]]


def test_nothing_is_left_of_a_copy_that_was_stopped_nor_of_last_week(scratch):
    stale, foreign = scratch / "a-0123456789ab.input.zarr", scratch / "mine.zarr"
    for folder in (stale, foreign):
        folder.mkdir(parents=True)
        os.utime(folder, (0, 0))
    steps = addressed(open_stack(np.ones((3, 5, 6), np.uint8), "tyx"), None, scratch)
    next(steps)
    next(steps)
    assert len(list(scratch.iterdir())) == 2
    steps.close()
    assert list(scratch.iterdir()) == [foreign]
