"""Axes that a file states are those of its layer, where the layer says none itself."""

import numpy as np
import pytest
import tifffile
import zarr
from napari.components import ViewerModel
from napari.layers import Image

from napari_deblur._napari import stated
from napari_deblur._napari.deblur import Deblur
from napari_deblur._napari.reading import axes_of, stack_of

SIZES = {"T": 2, "C": 3, "Z": 5, "Y": 8, "X": 9}


def _written(path, axes, kind):
    array = np.zeros([SIZES[a] for a in axes], np.uint8)
    tifffile.imwrite(
        path, array, imagej=kind == "imagej", ome=kind == "ome", metadata={"axes": axes}
    )


def _opened(path, array=None, **kwargs):
    """Make the layer that napari's own reader makes: with a path, and without labels."""
    layer = Image(tifffile.imread(path) if array is None else array, name="a", **kwargs)
    layer._source = layer.source.model_copy(update={"path": str(path)})
    return layer


@pytest.mark.parametrize(
    ("axes", "kind"),
    [
        ("ZCYX", "imagej"), ("CYX", "imagej"), ("TYX", "imagej"), ("TZCYX", "imagej"),
        ("CZYX", "ome"), ("ZTYX", "ome"), ("ZYX", "ome"),
    ],
)  # fmt: skip
def test_axes_come_from_the_file_where_the_labels_say_nothing(tmp_path, axes, kind):
    path = tmp_path / ("a.ome.tif" if kind == "ome" else "a.tif")
    _written(path, axes, kind)
    layer = _opened(path)
    assert axes_of(layer) == axes.lower()
    stack = stack_of(layer)
    assert stack.shape == tuple(SIZES[a] if a in axes else 1 for a in "TCZYX")
    # Labels go before.
    named = _opened(path, axis_labels=("q", *"tczyx")[-layer.ndim :])
    assert axes_of(named) == "tczyx"[-layer.ndim :]


def test_channels_may_be_layers_and_axes_of_length_one_left_out(tmp_path):
    path, array = tmp_path / "a.zarr", np.zeros((3, 1, 5, 8, 9), np.uint8)
    zarr.create_array(path, shape=array.shape, dtype="u1", dimension_names=list("ctzyx"))
    for part, axes in [(array, "ctzyx"), (array[:, 0], "czyx"), (array[0], "tzyx"),
                       (array[1, 0], "zyx"), (array[:, 0, 0], "zyx")]:  # fmt: skip
        assert axes_of(_opened(path, part)) == axes
    assert axes_of(_opened(tmp_path / "none.tif", array[:, 0])) == "tzyx"


def test_colours_have_no_letter(tmp_path):
    path = tmp_path / "a.tif"
    array = np.zeros((4, 8, 9, 3), np.uint8)
    tifffile.imwrite(path, array, photometric="rgb", ome=True, metadata={"axes": "TYXS"})
    assert axes_of(_opened(path, array, rgb=True)) == "tyx"
    assert axes_of(_opened(path, array, rgb=False)) == "tyxc"


def test_axes_are_filled_in_when_a_large_file_was_read(qapp, qtbot, tmp_path, monkeypatch):
    monkeypatch.setattr(stated, "MANY", 1)
    path = tmp_path / "a.tif"
    _written(path, "CYX", "imagej")
    viewer = ViewerModel()
    widget = Deblur(viewer)
    qtbot.addWidget(widget)
    viewer.add_layer(_opened(path))
    widget.reset_choices()
    qtbot.waitUntil(lambda: widget.axes.text() == "cyx", timeout=20_000)
    assert "3 channels of 8 × 9 pixels" in widget.reads.text()
