"""What files say of their voxels, and how often they are read for it."""

from threading import current_thread, main_thread

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from napari.layers import Image

from napari_deblur._napari import stated
from napari_deblur._napari.beads_psf import BeadsPsf
from napari_deblur._napari.deblur import Deblur
from napari_deblur._napari.optics_psf import OpticsPsf
from napari_deblur._napari.stated import MANY, is_quick, said_by

ABOUT = {"resolution": (10, 10), "metadata": {"axes": "ZYX", "unit": "um"}}


@pytest.fixture
def opened(monkeypatch):
    """The files that were opened."""
    found, really = [], stated.open_stack

    def counted(path):
        assert not stated.takes_long(path) or current_thread() is not main_thread()
        found.append(path)
        return really(path)

    monkeypatch.setattr(stated, "open_stack", counted)
    return found


def written(path, pages):
    with tifffile.TiffWriter(path) as file:
        for _ in range(pages):
            file.write(np.zeros((4, 4), np.uint8), contiguous=False, resolution=(1e5, 1e5),
                       resolutionunit="CENTIMETER", metadata=None)  # fmt: skip
    return path


def test_a_file_is_read_once_until_it_changes(tmp_path, opened):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((2, 8, 8), np.uint8), imagej=True, **ABOUT)
    assert said_by(path).pixel_size[1:] == pytest.approx((0.1, 0.1))
    assert said_by(path) is said_by(str(path))
    assert len(opened) == 1
    tifffile.imwrite(path, np.zeros((3, 8, 8), np.uint8), imagej=True, **ABOUT)
    said_by(path)
    assert len(opened) == 2
    assert said_by(tmp_path / "none.tif") is said_by("https://x.org/a.tif") is said_by(None) is None


def test_what_has_many_pages_or_a_long_text_takes_its_time(tmp_path):
    assert is_quick(written(tmp_path / "few.tif", MANY))
    assert not is_quick(written(tmp_path / "many.tif", MANY + 1))
    about = {"axes": "YX", "Description": "a" * stated.LONG}
    tifffile.imwrite(tmp_path / "long.ome.tif", np.zeros((4, 4), np.uint8), metadata=about)
    assert not is_quick(tmp_path / "long.ome.tif")
    (tmp_path / "no.tif").write_bytes(b"II*\0 nothing")
    assert is_quick(tmp_path / "no.tif")
    assert is_quick(None)


def test_a_size_is_filled_in_when_it_is_known(qapp, qtbot, tmp_path, opened, monkeypatch):
    monkeypatch.setattr(stated, "MANY", 1)
    layer = Image(np.zeros((5, 8, 8), np.uint8), name="a")
    viewer = ViewerModel()
    widget = Deblur(viewer)
    qtbot.addWidget(widget)
    path = tmp_path / "many.tif"
    about = {"resolution": (1e5, 1e5), "resolutionunit": "CENTIMETER", "metadata": {"axes": "ZYX"}}
    tifffile.imwrite(path, layer.data, compression="zlib", **about)
    layer._source = layer.source.model_copy(update={"path": str(path)})
    viewer.add_layer(layer)
    widget.reset_choices()
    qtbot.waitUntil(lambda: widget.sizes["x"].text() != "", timeout=20_000)
    assert opened == [str(path)]
    assert widget.sizes_given()[2] == pytest.approx(0.1)
    widget.reset_choices()
    assert widget.sizes["x"].text() == "0.1"


@pytest.mark.parametrize("cls", [OpticsPsf, BeadsPsf])
def test_the_window_does_not_wait_for_many_pages(qtbot, tmp_path, opened, monkeypatch, cls):
    monkeypatch.setattr(stated, "MANY", 1)
    path = tmp_path / "many.ome.tif"
    pages = np.random.default_rng(0).integers(0, 9, (5, 32, 32), np.uint8)
    about = {"axes": "ZYX", "PhysicalSizeX": 0.1, "PhysicalSizeY": 0.1, "PhysicalSizeZ": 0.3}
    tifffile.imwrite(path, pages, compression="zlib", metadata=about)
    viewer = ViewerModel()
    layer = Image(pages, name="a")
    layer._source = layer.source.model_copy(update={"path": str(path)})
    viewer.add_layer(layer)
    widget = cls(viewer)  # `opened` says if it reads the file in this thread
    qtbot.addWidget(widget)
    qtbot.waitUntil(lambda: widget.size.texts() == ["0.3", "0.1", "0.1"], timeout=20_000)
    assert opened == [str(path)]
