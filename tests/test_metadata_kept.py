"""What the metadata say goes through a run into the output, and is read from there again."""

import numpy as np
import pytest
import tifffile

import napari_deblur as nd
from napari_deblur.stack import Channel, Optics, Pixels, Stack

CHANNELS = (Channel("GFP", "#00ff00", 0.509, 0.488), Channel("RFP", "#ff0000", 0.607, 0.561))


def source():
    array = np.random.default_rng(0).poisson(40, (2, 2, 3, 30, 34)).astype(np.uint16)
    optics = Optics(na=1.4, n_immersion=1.515, n_sample=1.33, magnification=63.0)
    return Stack(Pixels(array, "tczyx"), "tczyx", (0.4, 0.1, 0.12), CHANNELS, optics, 2.5)


def test_a_zarr_result_keeps_voxels_time_channels_and_optics(tmp_path):
    stack = source()
    list(nd.run(nd.plan(stack, "identity"), tmp_path / "r.deblur.zarr", stack))
    again = nd.open_stack(tmp_path / "r.deblur.zarr")
    assert again.pixel_size == pytest.approx(stack.pixel_size)
    assert again.time_step == 2.5
    assert again.channels == CHANNELS
    assert again.optics == stack.optics
    assert again.axes == "tczyx"


def test_a_tiff_result_keeps_voxels_time_channels_and_wavelengths(tmp_path):
    stack = source()
    list(nd.run(nd.plan(stack, "identity"), tmp_path / "r.ome.tif", stack))
    again = nd.open_stack(tmp_path / "r.ome.tif")
    assert again.pixel_size == pytest.approx(stack.pixel_size)
    assert again.time_step == 2.5
    assert [c.name for c in again.channels] == ["GFP", "RFP"]
    assert [c.emission for c in again.channels] == pytest.approx([0.509, 0.607])
    with tifffile.TiffFile(tmp_path / "r.ome.tif") as tif:
        assert tif.is_ome
