"""Layers onto the disk and back: voxel sizes, kernels, results."""

import numpy as np
import pytest
import tifffile
import zarr
from napari.components import ViewerModel
from napari.layers import Image

import napari_deblur as nd
from napari_deblur._napari.kernel_adding import add_kernel
from napari_deblur._napari.reader import get_reader
from napari_deblur._napari.seen import Seen
from napari_deblur._napari.writer import NotSaved, write_tiff, write_zarr
from napari_deblur.kernels import load_kernel
from napari_deblur.opening import open_stack
from napari_deblur.results import open_result
from napari_deblur.verifying import verify

SIZE = (0.4, 0.1, 0.1)
KERNEL = nd.Kernel(np.outer([1, 2, 3, 2, 1], [1, 2, 3, 2, 1]), (1, 0.05, 0.05))


@pytest.fixture
def array():
    return np.random.default_rng(0).poisson(50, (2, 3, 24, 30)).astype(np.uint16)


@pytest.fixture
def result(tmp_path, array):
    """Give the layers of a result, and its store."""
    store = tmp_path / "a.deblur.zarr"
    stack = open_stack(array, "czyx", SIZE)
    for _ in nd.run(nd.plan(stack, "richardson-lucy", kernel=KERNEL), store, stack):
        pass
    return get_reader(str(store))(str(store)), open_result(store)


@pytest.fixture
def made():
    """Give a viewer with an image and a kernel that no run made."""
    viewer = ViewerModel()
    image = np.random.default_rng(1).random((2, 4, 20, 24)).astype("f4")
    viewer.add_image(image, name="restored: a/b", scale=(1, *SIZE), units=("pixel", *["um"] * 3),
                     axis_labels=tuple("czyx"))  # fmt: skip
    kernel = nd.Kernel(np.ones((3, 5, 7)), (0.2, 0.1, 0.1), {"source": "test"})
    add_kernel(viewer, kernel, "psf", viewer.layers[0])
    return viewer


@pytest.fixture
def plugin(npe2pm):
    """Let napari know the plugin."""
    npe2 = pytest.importorskip("npe2")
    manifest = npe2.PluginManifest.from_distribution("napari-deblur")
    with npe2pm.tmp_plugin(manifest=manifest):
        yield


def tuples(viewer):
    return [layer.as_layer_data_tuple() for layer in viewer.layers]


def test_a_result_is_copied_whole(result, tmp_path):
    layers, old = result
    path = tmp_path / "b.deblur.zarr"
    assert write_zarr(str(path), layers) == [str(path)]
    new = open_result(path)
    assert new.key == old.key
    np.testing.assert_array_equal(new.levels[0][:], old.levels[0][:])
    np.testing.assert_array_equal(new.kernels[:], old.kernels[:])
    assert not list(verify(path))
    again = get_reader(str(path))(str(path))
    for (_, one, _), (_, other, _) in zip(layers, again, strict=True):
        for name in ("name", "scale", "units", "axis_labels", "contrast_limits", "translate"):
            assert one[name] == other[name]
    with pytest.raises(FileExistsError, match="choose another name"):
        write_zarr(str(path), layers)
    with pytest.raises(NotSaved, match="inside of the result itself"):
        write_zarr(str(old.path / "c.zarr"), layers)
    assert not list(tmp_path.glob(".*partial"))


def test_place_and_colours_come_back(result, tmp_path):
    layers, _ = result
    image = Image(layers[0][0], **layers[0][1])
    image.translate = (0, 3, 2, 1)
    turn = np.eye(4)
    turn[2:, 2:] = [[0.8, -0.6], [0.6, 0.8]]
    image.rotate = turn
    image.colormap = "magma"
    image.gamma = 0.7
    path = tmp_path / "b.deblur.zarr"
    write_zarr(str(path), [image.as_layer_data_tuple(), layers[1]])
    restored, kernels = (
        Image(data, **kwargs) for data, kwargs, _ in get_reader(str(path))(str(path))
    )
    np.testing.assert_allclose(restored.affine.affine_matrix, image.affine.affine_matrix)
    for place in ((0, 0, 0, 0), (1, 2, 20, 9)):
        np.testing.assert_allclose(restored.data_to_world(place), image.data_to_world(place))
    assert (restored.colormap.name, restored.gamma) == ("magma", 0.7)
    assert kernels.colormap.name == "inferno"
    np.testing.assert_allclose(kernels.rotate, turn)
    assert not list(verify(path))


def test_a_result_becomes_one_tiff(result, tmp_path):
    layers, old = result
    path = tmp_path / "b.ome.tif"
    assert write_tiff(str(path), layers) == [str(path)]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.deblur.zarr", "b.ome.tif"]
    with tifffile.TiffFile(path) as file:
        image, kernels = file.series
        np.testing.assert_allclose(image.asarray(), old.levels[0][:])
        np.testing.assert_array_equal(kernels.asarray().squeeze(), old.kernels[:].squeeze())
        assert image.axes == "CZYX"
    stack = open_stack(path)
    assert stack.shape == (1, 2, 3, 24, 30)
    assert stack.pixel_size == pytest.approx(SIZE)
    kernels = open_stack(path, series=1)
    assert kernels.pixel_size[1:] == pytest.approx(old.kernel_pixel_size[1:])
    write_tiff(str(path), layers)  # the dialog has asked


def test_a_picture_in_colour_becomes_one_tiff(tmp_path):
    picture = np.random.default_rng(0).integers(20, 200, (32, 40, 3), dtype=np.uint8)
    store, stack = tmp_path / "c.deblur.zarr", open_stack(picture, "yxs")
    for _ in nd.run(
        nd.plan(stack, "richardson-lucy", kernel=nd.Kernel(KERNEL.array)), store, stack
    ):
        pass
    path = tmp_path / "c.ome.tif"
    write_tiff(str(path), get_reader(str(store))(str(store)))
    with tifffile.TiffFile(path) as file:
        image, kernels = file.series
        assert image.shape == (32, 40, 3)
        assert image.dtype == np.uint8
        assert kernels.shape[-2:] == (5, 5)
    assert open_stack(path).rgb


def test_image_and_kernel_become_one_zarr(made, tmp_path):
    path = tmp_path / "c.ome.zarr"
    assert write_zarr(str(path), tuples(made)[::-1]) == [str(path)]
    stack = open_stack(path)
    assert stack.axes == "czyx"
    assert stack.pixel_size == pytest.approx(SIZE)
    np.testing.assert_array_equal(stack.read(0, 1), made.layers[0].data[1])
    kernel = load_kernel(path / "psf")
    assert kernel.pixel_size == pytest.approx((0.2, 0.1, 0.1))
    np.testing.assert_allclose(kernel.array, 1 / 105, rtol=1e-5)
    yaozarrs = pytest.importorskip("yaozarrs")
    for group in (path, path / "psf"):
        yaozarrs.validate_zarr_store(str(group))


def test_image_and_kernel_become_one_tiff(made, tmp_path):
    path = tmp_path / "c.ome.tif"
    write_tiff(str(path), tuples(made)[::-1])
    with tifffile.TiffFile(path) as file:
        image, kernel = file.series
        np.testing.assert_array_equal(image.asarray(), made.layers[0].data)
        assert kernel.shape == (3, 5, 7)
        assert [one.name for one in file.series] == ["restored- a-b", "psf"]
    stack = open_stack(path)
    assert stack.pixel_size == pytest.approx(SIZE)


def test_colours_axes_and_equal_names(tmp_path):
    viewer = ViewerModel()
    picture = np.random.default_rng(0).integers(0, 255, (16, 20, 3), np.uint8)
    viewer.add_image(picture, rgb=True, name="photo", axis_labels=("y", "x"))
    viewer.add_image(picture[..., 0].T, name="photo", axis_labels=("x", "y"), scale=(0.2, 0.3),
                     units="um")  # fmt: skip
    path = tmp_path / "d.ome.tif"
    write_tiff(str(path), tuples(viewer))
    with tifffile.TiffFile(path) as file:
        photo, other = file.series
        np.testing.assert_array_equal(photo.asarray(), np.moveaxis(picture, -1, 0))
        np.testing.assert_array_equal(other.asarray(), picture[..., 0])
        assert 'PhysicalSizeX="0.2"' in file.ome_metadata


def test_what_does_not_fit_is_refused(result, tmp_path):
    layers, old = result
    other = {"metadata": {"deblur": {"store": str(tmp_path / "z.deblur.zarr")}}, "name": "z"}
    with pytest.raises(NotSaved, match="2 results"):
        write_zarr(str(tmp_path / "e.zarr"), [*layers, (layers[0][0], other, "image")])
    with pytest.raises(NotSaved, match="no longer at"):
        write_tiff(str(tmp_path / "e.tif"), [(layers[0][0], other, "image")])
    group = old.path / "zarr.json"
    group.write_text(group.read_text().replace('"complete": true', '"complete": false'))
    with pytest.raises(NotSaved, match="is not finished"):
        write_tiff(str(tmp_path / "e.tif"), layers)
    strange = Image(np.ones((2, 2, 2, 2, 2, 2)), name="six")
    with pytest.raises(NotSaved, match="nothing says which"):
        write_zarr(str(tmp_path / "e.zarr"), [strange.as_layer_data_tuple()])
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.deblur.zarr"]


def test_layers_beside_a_result_are_left_out_and_told(result, made, tmp_path, monkeypatch):
    from napari.utils import notifications

    said = []
    monkeypatch.setattr(notifications, "show_info", said.append)
    layers, old = result
    write_zarr(str(tmp_path / "e.deblur.zarr"), [tuples(made)[0], *layers])
    write_tiff(str(tmp_path / "e.ome.tif"), [*layers, *tuples(made)])
    assert open_result(tmp_path / "e.deblur.zarr").key == old.key
    assert "without “restored: a/b”: save" in said[0]
    assert "without “restored: a/b”, “psf”: save" in said[1]
    with tifffile.TiffFile(tmp_path / "e.ome.tif") as file:
        assert len(file.series) == 2


def test_a_result_that_cannot_be_read_is_said_and_nothing_else(result, tmp_path, monkeypatch):
    from napari.utils import notifications

    said = []
    monkeypatch.setattr(notifications, "show_info", said.append)
    layers, old = result
    beside = (np.ones((4, 4)), {"name": "beside", "metadata": {}}, "image")
    # Where it can't be written nothing is told to be saved.
    with pytest.raises(NotSaved, match="inside of the result itself"):
        write_zarr(str(old.path / "c.zarr"), [*layers, beside])
    (old.path / "zarr.json").write_text("{")
    with pytest.raises(NotSaved, match="can't be read"):
        write_zarr(str(tmp_path / "e.zarr"), [*layers, beside])
    assert said == []


def test_a_large_tiff_is_not_read_when_it_is_opened(tmp_path, monkeypatch):
    from napari_deblur.pixels import Pixels

    viewer = ViewerModel()
    planes = np.random.default_rng(2).random((40, 64, 48)).astype("f4")
    viewer.add_image(planes, name="many", axis_labels=tuple("zyx"))
    path, read = tmp_path / "many.ome.tif", []
    write_tiff(str(path), tuples(viewer))
    take = Pixels.read

    def counted(self, *args):
        got = take(self, *args)
        read.append(got.size)
        return got

    monkeypatch.setattr(Pixels, "read", counted)
    [(data, kwargs, _)] = get_reader(str(path))(str(path))
    image = Image(data, **kwargs)
    assert sum(read) < 3 * planes[0].size  # the planes that are seen
    np.testing.assert_array_equal(image.data[7], planes[7])


@pytest.mark.usefixtures("plugin")
def test_napari_does_not_hide_why_nothing_was_saved(tmp_path):
    # Of a ValueError napari says that there is no such writer.
    gone = {"metadata": {"deblur": {"store": str(tmp_path / "z.deblur.zarr")}}, "name": "z"}
    viewer = ViewerModel()
    viewer.add_image(Seen(zarr.ones((4, 4), chunks=(4, 4)), (0, 1)), **gone)
    with pytest.raises(NotSaved, match="open it from where it is now"):
        viewer.layers.save(str(tmp_path / "e.deblur.ome.tif"), plugin="napari-deblur")


def opened(path):
    """Open what was saved, as napari does."""
    viewer = ViewerModel()
    viewer.open(str(path), plugin="napari-deblur")
    return viewer.layers


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize("name", ["c.ome.zarr", "c.deblur.ome.tif"])
def test_image_and_kernel_come_back(made, tmp_path, name):
    made.layers.save(str(tmp_path / name), plugin="napari-deblur")
    image, kernel = opened(tmp_path / name)
    np.testing.assert_array_equal(image.data, made.layers[0].data)
    assert tuple(image.scale) == pytest.approx((1, *SIZE))
    assert image.axis_labels == kernel.axis_labels == ("c", "z", "y", "x")
    assert [str(u) for u in image.units] == [str(u) for u in kernel.units]
    assert [str(u) for u in image.units][1:] == ["micrometer"] * 3
    assert kernel.name == "psf"
    assert kernel.metadata["kernel_pixel_size"] == pytest.approx((0.2, 0.1, 0.1))
    assert tuple(kernel.scale[1:]) == pytest.approx((0.2, 0.1, 0.1))
    np.testing.assert_array_equal(np.squeeze(kernel.data), made.layers[1].data)
    # To the right of the image, not over it.
    assert kernel.extent.world[0][3] > image.extent.world[1][3]


KINDS = ("bool", "uint8", "uint16", "uint32", ">u2", "int16", "int64", "float16", "float64")


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize("name", ["c.ome.zarr", "c.deblur.ome.tif"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_number_is_changed(tmp_path, name, kind):
    top = {"uint32": 2**24 + 1, "bool": 1, "int64": 2**31 - 1, "uint8": 255}.get(kind, 999)
    array = np.random.default_rng(0).integers(0, top, (3, 20, 24), endpoint=True).astype(kind)
    array[1] = 0  # nothing, but not lost
    array[0, 0, 0] = top
    viewer = ViewerModel()
    viewer.add_image(array, name="many", axis_labels=tuple("zyx"))
    viewer.layers.save(str(tmp_path / name), plugin="napari-deblur")
    (image,) = opened(tmp_path / name)
    np.testing.assert_array_equal(image.data, array)
    if kind in ("uint8", "uint16", "uint32", "int16", "float64"):
        assert image.dtype == kind


def test_numbers_that_no_tiff_has_are_refused(tmp_path):
    layer = Image(np.full((4, 4), 2**40), name="large", contrast_limits=(0, 1))
    with pytest.raises(NotSaved, match="save it as OME-Zarr"):
        write_tiff(str(tmp_path / "a.tif"), [layer.as_layer_data_tuple()])


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize("name", ["c.ome.zarr", "c.deblur.ome.tif"])
@pytest.mark.parametrize("axes", ["tzyx", "ztyx"])
def test_place_and_looks_of_any_layer_come_back(tmp_path, name, axes):
    sizes = {"t": (2, 200, 900, "ms"), "z": (3, 400, 70, "nm")}
    rows = [sizes.get(a, (24, 100, -3000, "nm")) for a in axes]
    shape, scale, translate, units = zip(*rows, strict=True)
    turn = np.eye(4)
    if axes == "tzyx":  # else a turn means something else in the file
        turn[2:, 2:] = [[0.8, -0.6], [0.6, 0.8]]
    viewer = ViewerModel()
    layer = viewer.add_image(
        np.random.default_rng(0).integers(0, 99, shape, np.uint16), name='a "<b>&', scale=scale,
        translate=translate, units=units, axis_labels=tuple(axes), rotate=turn, colormap="magma",
        gamma=0.6, contrast_limits=(7, 50), blending="additive",
    )  # fmt: skip
    viewer.layers.save(str(tmp_path / name), plugin="napari-deblur")
    (image,) = opened(tmp_path / name)
    assert image.axis_labels == tuple("tzyx")
    order = [axes.index(a) for a in "tzyx"]
    np.testing.assert_array_equal(image.data, layer.data.transpose(order))
    place = np.array((1, 2, 20, 9))
    lies = np.array(layer.data_to_world(place[[("tzyx").index(a) for a in axes]]))[order]
    np.testing.assert_allclose(image.data_to_world(place), lies)
    assert [str(u) for u in image.units] == [str(layer.units[n]) for n in order]
    for look in ("gamma", "contrast_limits", "blending"):
        assert getattr(image, look) == getattr(layer, look)
    assert image.colormap.name == "magma"
    stack = open_stack(tmp_path / name)
    assert (stack.time_step, stack.pixel_size) == (0.2, pytest.approx((0.4, 0.1, 0.1)))
    if name.endswith("zarr"):
        image = zarr.open_group(tmp_path / name).attrs["ome"]["multiscales"][0]
        _, shift = image["datasets"][0]["coordinateTransformations"]
        assert shift["translation"] == pytest.approx((0.9, 0.07, -3, -3))


@pytest.mark.usefixtures("plugin")
def test_a_result_comes_back_under_other_names(result, tmp_path):
    layers, old = result
    write_zarr(str(tmp_path / "b.ome.zarr"), layers)
    write_tiff(str(tmp_path / "b.deblur.ome.tif"), layers)
    restored, kernels = opened(tmp_path / "b.ome.zarr")
    assert restored.metadata["deblur"]["key"] == old.key
    image, flat = opened(tmp_path / "b.deblur.ome.tif")
    assert (image.name, flat.name) == ("b", "b kernels")
    np.testing.assert_allclose(image.data, np.asarray(restored.data), rtol=1e-6)
    np.testing.assert_array_equal(np.squeeze(flat.data), np.squeeze(np.asarray(kernels.data)))
    for one, other in ((image, restored), (flat, kernels)):
        np.testing.assert_allclose(one.scale, other.scale)
        assert one.axis_labels == other.axis_labels
    np.testing.assert_allclose(flat.translate, kernels.translate)
    assert flat.metadata["kernel_pixel_size"][1:] == pytest.approx(old.kernel_pixel_size[1:])


@pytest.mark.usefixtures("plugin")
def test_colours_of_a_result_come_back(tmp_path):
    picture = np.random.default_rng(0).integers(20, 200, (32, 40, 3), dtype=np.uint8)
    store, stack = tmp_path / "c.deblur.zarr", open_stack(picture, "yxs")
    plan = nd.plan(stack, "richardson-lucy", kernel=nd.Kernel(KERNEL.array))
    for _ in nd.run(plan, store, stack):
        pass
    layers = get_reader(str(store))(str(store))
    write_tiff(str(tmp_path / "c.deblur.ome.tif"), layers)
    image, kernels = opened(tmp_path / "c.deblur.ome.tif")
    assert image.rgb
    np.testing.assert_array_equal(image.data, np.asarray(layers[0][0]))
    assert kernels.data.shape == (5, 5)


@pytest.mark.usefixtures("plugin")
def test_napari_finds_the_writers(made, tmp_path):
    npe2 = pytest.importorskip("npe2")
    for name in ("f.deblur.zarr", "f.ome.zarr", "f.deblur.ome.tif"):
        path = str(tmp_path / name)
        assert npe2.write(path, tuples(made), plugin_name="napari-deblur") == [path]


@pytest.mark.usefixtures("plugin")
def test_every_ending_that_is_offered_for_saving_opens_again(made, tmp_path):
    npe2 = pytest.importorskip("npe2")
    manifest = npe2.PluginManifest.from_distribution("napari-deblur")
    endings = [one for w in manifest.contributions.writers for one in w.filename_extensions]
    assert len(endings) > 3
    for number, ending in enumerate(endings):
        path = tmp_path / f"{number}{ending}"
        made.layers.save(str(path), plugin="napari-deblur")
        assert [layer.name for layer in opened(path)][1:] == ["psf"], ending
