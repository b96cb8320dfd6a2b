import inspect
import json
import subprocess
import sys
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr

import napari_deblur.opening
from napari_deblur.opening import coarsest, open_stack, reopen
from napari_deblur.stack import Source


@pytest.fixture
def volume():
    return np.random.default_rng(7).integers(0, 60000, (5, 40, 24)).astype("u2")


@pytest.fixture
def path(tmp_path, volume):
    tifffile.imwrite(tmp_path / "cells.tif", volume, metadata={"axes": "ZYX"})
    return tmp_path / "cells.tif"


def test_two_axes_are_y_and_x(volume):
    stack = open_stack(volume[0])
    assert (stack.axes, stack.shape, stack.source) == ("yx", (1, 1, 1, 40, 24), None)
    np.testing.assert_array_equal(stack.read(0, 0)[0], volume[0])


@pytest.mark.parametrize(("ndim", "example"), [(3, "zyx"), (4, "czyx"), (5, "tczyx")])
def test_more_axes_are_asked_for(ndim, example):
    with pytest.raises(ValueError, match=f'no axes are stated: name them, e.g. axes="{example}"'):
        open_stack(np.zeros((2, 3, 4, 5, 6)[:ndim]))


def test_six_axes_are_too_many():
    with pytest.raises(ValueError, match="at most five"):
        open_stack(np.zeros((1, 2, 3, 4, 5, 6)))


@pytest.mark.parametrize("axes", ["zyx", "xyz", "yxz", "tyx", "cyx", "yxs"])
def test_axes_in_any_order_are_sorted(volume, axes):
    stack = open_stack(volume[:, :, :3] if axes == "yxs" else volume, axes)
    sizes = dict(zip(axes.replace("s", "c"), (5, 40, 3 if axes == "yxs" else 24), strict=True))
    assert stack.shape == tuple(sizes.get(axis, 1) for axis in "tczyx")
    assert stack.axes == "".join(axis for axis in "tczyx" if axis in sizes)
    assert stack.rgb == (axes == "yxs")


def test_samples_that_are_no_colours_are_channels(volume):
    stack = open_stack(volume, "syx")
    assert not stack.rgb
    assert stack.shape[1] == 5


def test_channels_and_colours_at_once_are_refused():
    with pytest.raises(ValueError, match="both channels and colour samples"):
        open_stack(np.zeros((2, 40, 24, 3)), "cyxs")


@pytest.mark.parametrize("dtype", ["?", "u1", "i2", ">u2", ">f4", "f2", "f8"])
def test_real_numbers_of_every_kind_are_taken(volume, dtype):
    data = (volume % 100).astype(dtype)
    stack = open_stack(data, "zyx")
    assert stack.read(0, 0).dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(stack.read(0, 0), data)


@pytest.mark.parametrize("dtype", ["c8", "O", "U3", "M8[s]"])
def test_other_kinds_of_data_are_refused(dtype):
    with pytest.raises(ValueError, match="real numbers"):
        open_stack(np.zeros((40, 24), dtype))


def test_an_array_without_pixels_is_refused():
    with pytest.raises(ValueError, match="no pixels: axis y has length 0"):
        open_stack(np.zeros((0, 24)))


@pytest.mark.parametrize("lazy", [False, True])
def test_what_lies_under_a_mask_is_not_taken_for_pixels(volume, lazy):
    array = np.ma.masked_greater(volume, volume.mean())
    with pytest.raises(ValueError, match="the array has a mask"):
        open_stack(da.from_array(array) if lazy else array, "zyx")


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_blocks_of_another_shape_than_the_array_says_are_an_error(volume, axis):
    def lost(block):
        return np.take(block, range(block.shape[axis] - 1), axis) if block.size else block

    array = da.map_blocks(lost, da.from_array(volume, chunks=-1), dtype=volume.dtype)
    stack = open_stack(array, "zyx")
    with pytest.raises(ValueError, match="gave a block of shape"):
        stack.read(0, 0)


def test_missing_values_are_kept():
    image = np.ones((40, 24), "f4")
    image[3, 4] = np.nan
    assert np.isnan(open_stack(image).read(0, 0)[0, 3, 4])


def test_nobody_can_change_the_users_array_through_the_stack(volume):
    kept = volume.copy()
    open_stack(volume, "zyx").read(0, 0)[:] = 0
    np.testing.assert_array_equal(volume, kept)


def test_a_dask_array_of_uneven_chunks_stays_lazy(volume):
    reads = []

    def block(block_info=None):
        place = block_info[None]["array-location"]
        reads.append(place)
        return volume[tuple(slice(*span) for span in place)]

    chunks = ((2, 3), (7, 20, 13), (24,))
    lazy = da.map_blocks(block, chunks=chunks, dtype="u2", meta=np.empty((0, 0, 0), "u2"))
    stack = open_stack(lazy, "zyx")
    assert reads == []
    assert stack.pixels.chunks == (3, 20, 24)
    np.testing.assert_array_equal(
        stack.read(0, 0, ((3, 4), (8, 11), (2, 9))), volume[3:4, 8:11, 2:9]
    )
    assert len(reads) == 1


def test_a_dask_array_of_unknown_shape_is_refused(volume):
    lazy = da.from_array(volume)
    with pytest.raises(ValueError, match="compute_chunk_sizes"):
        open_stack(lazy[lazy[:, 0, 0] > 0], "zyx")


@pytest.mark.parametrize(
    ("given", "axes", "read"),
    [
        (0.2, "zyx", (0.2, 0.2, 0.2)),
        ((0.3, 0.2, 0.1), "zyx", (0.3, 0.2, 0.1)),
        ((0.2, 0.1), "tyx", (None, 0.2, 0.1)),
        (np.array([0.3, 0.2, 0.1]), "zyx", (0.3, 0.2, 0.1)),
        (np.float32(0.5), "zyx", (0.5, 0.5, 0.5)),
        (2, "zyx", (2, 2, 2)),
    ],
)
def test_the_voxel_size_is_given_in_three_ways(volume, given, axes, read):
    assert open_stack(volume, axes, given).pixel_size == read


@pytest.mark.parametrize(
    "given", [0, -1, (0.1, 0.2, float("nan")), (1, 2, 3, 4), "0.1", ("a",) * 3]
)
def test_a_voxel_size_that_cannot_be_is_refused(volume, given):
    with pytest.raises(ValueError, match="is no size of voxels"):
        open_stack(volume, "zyx", given)


def test_a_flat_voxel_size_of_a_volume_is_refused(volume, path):
    for source in (volume, path):
        with pytest.raises(ValueError, match=r"2 values .* give \(z, y, x\)"):
            open_stack(source, "zyx", (0.2, 0.1))


def test_a_stack_is_given_back(volume):
    stack = open_stack(volume, "zyx")
    assert open_stack(stack) is stack
    assert open_stack(stack, pixel_size=0.2).pixel_size == (0.2, 0.2, 0.2)
    with pytest.raises(ValueError, match="is open already"):
        open_stack(stack, "tyx")


def test_an_array_has_no_series(volume):
    with pytest.raises(ValueError, match="leave them out"):
        open_stack(volume, "zyx", series=1)


def test_things_without_pixels_are_refused():
    with pytest.raises(TypeError, match="not from dict"):
        open_stack({})


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'there is no file or folder ".*gone.tif"'):
        open_stack(tmp_path / "gone.tif")
    with pytest.raises(ValueError, match="the path is empty"):
        open_stack("")


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", r"is empty \(0 bytes\)"), (b"only text", "no known kind"), (None, "is no zarr store")],
)
def test_what_cannot_be_opened_says_what_can(tmp_path, content, said):
    path = tmp_path / "cells.tif"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(ValueError, match=said + r".*\*\.ome\.zarr.*\*\.png.*\*\.tif"):
        open_stack(path)


def test_the_content_counts_not_the_name(path, volume):
    other = path.rename(path.with_suffix(".dat"))
    np.testing.assert_array_equal(open_stack(other).read(0, 0), volume)


def test_paths_of_all_forms_open_the_same(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    for form in (path, str(path), path.name, f"file://{path}"):
        assert open_stack(form).source.address == str(path)


def test_a_store_in_fsspecs_memory_opens_by_its_url(volume):
    fsspec = pytest.importorskip("fsspec")
    files = fsspec.filesystem("memory")
    url = "memory://cells/a.zarr"
    zarr.create_array(url, data=volume, dimension_names=["z", "y", "x"])
    try:
        stack = open_stack(url)
        np.testing.assert_array_equal(stack.read(0, 0), volume)
        np.testing.assert_array_equal(reopen(stack.source).read(0, 0), volume)
        assert (stack.name, coarsest(stack)) == ("a", None)
    finally:
        files.rm("/cells", recursive=True)


def test_a_url_without_a_store_is_refused():
    with pytest.raises(ValueError, match="over a network only those are read"):
        open_stack("memory://nothing/here.tif")


REOPEN = """
import json, sys
from napari_deblur.opening import reopen
from napari_deblur.stack import Source
stack = reopen(Source.from_dict(json.load(sys.stdin)))
print(json.dumps([stack.shape, stack.pixel_size, int(stack.read(0, 0).sum())]))
"""


def test_another_process_opens_the_same_selection(path, volume):
    stack = open_stack(path, "tyx", pixel_size=0.25).selected(
        times=[4, 1], region=((0, 1), (3, 30), (5, 20))
    )
    done = subprocess.run(
        [sys.executable, "-c", REOPEN],
        input=json.dumps(stack.source.to_dict()),
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(Path(napari_deblur.opening.__file__).parents[1])},
    )
    shape, size, total = json.loads(done.stdout)
    assert tuple(shape) == stack.shape == (2, 1, 1, 27, 15)
    assert tuple(size) == stack.pixel_size
    assert total == volume[4, 3:30, 5:20].sum()


def test_a_file_that_is_gone_is_named_on_reopening(path):
    source = open_stack(path).source
    path.unlink()
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        reopen(source)


def test_a_source_without_a_reader_finds_one(path):
    assert reopen(Source(str(path), "")).source.reader == "tiff"


def test_one_resolution_has_no_coarsest(path, volume):
    assert coarsest(open_stack(path)) is None
    assert coarsest(open_stack(volume, "zyx")) is None


def test_opening_an_array_imports_no_reader():
    code = (
        "import sys, numpy as np\n"
        "from napari_deblur.opening import open_stack\n"
        "open_stack(np.zeros((4, 5)))\n"
        "heavy = {'tifffile', 'zarr', 'dask', 'PIL', 'torch', 'napari', 'qtpy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    root = str(Path(inspect.getfile(napari_deblur.opening)).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": root},
    )
    assert done.stdout.strip() == "[]"
