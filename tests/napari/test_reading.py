"""Axes, voxel sizes and pixels of layers."""

import dask.array as da
import numpy as np
import pytest
import zarr
from napari.layers import Image, Labels

from napari_deblur._napari.reading import axes_of, kernel_of, offered, pixel_size_of, stack_of


def test_layer_becomes_a_stack_without_being_read(layer):
    stack = stack_of(layer)
    assert (stack.axes, stack.shape) == ("zyx", (1, 1, 6, 20, 24))
    assert stack.pixel_size == pytest.approx((0.5, 0.1, 0.2))
    assert stack.name == "cells"
    np.testing.assert_array_equal(stack.read(0, 0), layer.data)


@pytest.mark.parametrize(
    ("unit", "scale", "size"),
    [("nm", 65, 0.065), ("mm", 0.002, 2), ("um", 1, 1), ("pixel", 1, None), ("pixel", 0.3, 0.3)],
)
def test_sizes_are_in_micrometres_whatever_the_unit(unit, scale, size):
    made = Image(np.zeros((4, 4)), scale=(scale, scale), units=unit)
    assert pixel_size_of(made, "yx") == (None, pytest.approx(size), pytest.approx(size))


def test_unit_without_a_length_is_unknown():
    made = Image(np.zeros((4, 4)), scale=(2, 2), units="second")
    assert pixel_size_of(made, "yx") == (None, None, None)


@pytest.mark.parametrize(
    ("labels", "axes"),
    [
        (("time", "Z", "y", "x"), "tzyx"),
        (("c", "z", "y", "x"), "czyx"),
        (("-4", "-3", "-2", "-1"), "tzyx"),
        (("y", "y", "x", "t"), "tzyx"),
    ],
)
def test_axes_come_from_the_labels_where_they_say_so(labels, axes):
    assert axes_of(Image(np.zeros((2, 3, 4, 5)), axis_labels=labels)) == axes


def test_time_step_is_in_seconds():
    made = Image(
        np.zeros((3, 4, 4)), scale=(2, 1, 1), units=("minute", "um", "um"), axis_labels="tyx"
    )
    assert stack_of(made).time_step == pytest.approx(120)


def test_pyramid_gives_its_finest_level():
    levels = [np.zeros((64, 64)), np.zeros((32, 32))]
    assert stack_of(Image(levels, multiscale=True)).shape[3:] == (64, 64)


def test_dask_stays_lazy():
    calls = []

    def count(block):
        calls.append(1)
        return block

    lazy = da.zeros((4, 16, 16), chunks=(1, 16, 16)).map_blocks(count, meta=np.empty((0, 0, 0)))
    made = Image(lazy, contrast_limits=(0, 1), cache=False)
    calls.clear()
    assert stack_of(made).shape == (1, 1, 4, 16, 16)
    assert not calls


def test_zarr_layer_has_the_address_of_its_array(tmp_path):
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=(4, 16, 16), chunks=(1, 16, 16), dtype="u2"
    )
    stack = stack_of(Image(array, contrast_limits=(0, 1)), "zyx")
    assert stack.source is not None
    assert stack.source.address == str(tmp_path / "a.zarr")


def test_colours_become_channels():
    stack = stack_of(Image(np.zeros((3, 8, 9, 3), np.uint8), rgb=True), "zyx")
    assert stack.rgb
    assert stack.shape == (1, 3, 3, 8, 9)


@pytest.mark.parametrize("axes", ["yx", "zyxt", "zzx", "ayx", ""])
def test_axes_that_do_not_fit_are_refused_with_an_example(layer, axes):
    with pytest.raises(ValueError, match="give 3 of the letters t, c, z, y, x, such as zyx"):
        stack_of(layer, axes)


def test_colour_and_channels_are_refused():
    made = Image(np.zeros((2, 8, 9, 3), np.uint8), rgb=True)
    with pytest.raises(ValueError, match="in colour"):
        stack_of(made, "cyx")


def test_labels_are_not_offered(layer):
    assert offered(layer)
    assert not offered(Labels(np.zeros((4, 4), int)))


def test_kernel_layer_has_its_own_voxel_size(kernel_layer):
    kernel = kernel_of(kernel_layer)
    assert kernel.shape == (1, 9, 9)
    assert kernel.pixel_size == (1.0, 0.1, 0.1)
    kernel_layer.metadata["kernel_pixel_size"] = (0.3, 0.05, 0.05)
    assert kernel_of(kernel_layer).pixel_size[1:] == (0.05, 0.05)


def test_image_is_no_kernel():
    huge = Image(da.zeros((600, 600, 60), chunks=100), contrast_limits=(0, 1), name="brain")
    with pytest.raises(ValueError, match="too many for a kernel"):
        kernel_of(huge)
