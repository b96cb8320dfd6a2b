import json

import numpy as np
import pytest
import zarr

from napari_deblur.opening import open_stack
from napari_deblur.stack import Reader


def write(path, data, **settings):
    array = zarr.create_array(path, shape=data.shape, dtype=data.dtype, **settings)
    array[:] = data
    return array


def test_the_reader_keeps_the_contract():
    from napari_deblur.registry import readers

    assert isinstance(readers["zarr-array"](), Reader)


@pytest.mark.parametrize("version", [2, 3])
def test_axes_come_from_the_names_of_the_dimensions(tmp_path, hyperstack, version):
    names = ["time", "channel", "z", "y", "x"]
    settings = {"dimension_names": names} if version == 3 else {}
    array = write(
        tmp_path / "a.zarr", hyperstack, chunks=(1, 1, 2, 16, 16), zarr_format=version, **settings
    )
    if version == 2:
        array.attrs["_ARRAY_DIMENSIONS"] = names
    stack = open_stack(tmp_path / "a.zarr")
    assert stack.axes == "tczyx"
    assert stack.pixels.chunks == (2, 16, 16)
    np.testing.assert_array_equal(stack.read(2, 1), hyperstack[2, 1])


@pytest.mark.parametrize("version", [2, 3])
def test_axes_without_names_are_asked_for(tmp_path, volume, version):
    write(tmp_path / "a", volume, zarr_format=version)
    with pytest.raises(ValueError, match=r'no axes are stated: name them, e.g. axes="zyx"'):
        open_stack(tmp_path / "a")
    np.testing.assert_array_equal(open_stack(tmp_path / "a", "zyx").read(0, 0), volume)


def test_the_only_array_of_a_group_is_opened(tmp_path, volume):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    group.create_array("deep/er", data=volume)
    assert open_stack(tmp_path / "a.zarr", "zyx").shape == (1, 1, 5, 40, 24)
    group.create_array("other", data=volume)
    with pytest.raises(ValueError, match=r"2 arrays \(deep/er, other\): give the path of one"):
        open_stack(tmp_path / "a.zarr", "zyx")
    assert open_stack(tmp_path / "a.zarr" / "other", "zyx").name == "other"


def test_an_empty_group_is_refused(tmp_path):
    zarr.open_group(tmp_path / "a.zarr", mode="w")
    with pytest.raises(ValueError, match="a zarr group without arrays"):
        open_stack(tmp_path / "a.zarr")


@pytest.mark.parametrize("place", ["compressor", "filters"])
def test_pickled_pixels_are_never_unpacked(tmp_path, volume, place):
    write(tmp_path / "a", volume, zarr_format=2)
    known = json.loads((tmp_path / "a" / ".zarray").read_text())
    pickled = {"id": "pickle", "protocol": 5}
    known[place] = pickled if place == "compressor" else [pickled]
    (tmp_path / "a" / ".zarray").write_text(json.dumps(known))
    with pytest.raises(ValueError, match="pickle"):
        open_stack(tmp_path / "a", "zyx")


def test_damaged_metadata_are_named(tmp_path, volume):
    write(tmp_path / "a", volume)
    (tmp_path / "a" / "zarr.json").write_text('{"zarr_format": 3, "node_type": "arr')
    with pytest.raises(ValueError, match="metadata are damaged"):
        open_stack(tmp_path / "a", "zyx")


def test_a_zarr_array_in_hand_opens_by_its_path(tmp_path, volume):
    array = write(tmp_path / "g" / "a", volume, dimension_names=["z", "y", "x"])
    stack = open_stack(array, pixel_size=0.2)
    assert stack.source.address == str(tmp_path / "g" / "a")
    assert (stack.axes, stack.pixel_size) == ("zyx", (0.2, 0.2, 0.2))


def test_a_zarr_array_in_memory_has_no_source(volume):
    stack = open_stack(write(zarr.storage.MemoryStore(), volume), "zyx")
    assert stack.source is None
    np.testing.assert_array_equal(stack.read(0, 0), volume)


def test_only_the_chunks_of_the_crop_are_read(tmp_path, volume):
    write(tmp_path / "a", volume, chunks=(1, 20, 24), compressors=None)
    for chunk in (tmp_path / "a" / "c").rglob("*"):
        if chunk.is_file() and chunk.relative_to(tmp_path / "a" / "c").parts[0] != "2":
            chunk.write_bytes(b"no pixels")
    stack = open_stack(tmp_path / "a", "zyx")
    np.testing.assert_array_equal(stack.read(0, 0, ((2, 3), (0, 40), (0, 24))), volume[2:3])


def test_a_missing_package_is_named(monkeypatch):
    def missing(*_, **__):
        raise ImportError("gcsfs")

    monkeypatch.setattr(zarr, "open", missing)
    with pytest.raises(ValueError, match="install gcsfs"):
        open_stack("gs://bucket/cells.zarr")
