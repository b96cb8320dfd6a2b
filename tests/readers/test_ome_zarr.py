import json
import shutil

import numpy as np
import pytest
import zarr

from napari_deblur.opening import coarsest, open_stack, reopen
from napari_deblur.stack import Channel, Reader

SCALES = {"t": 0.5, "c": 1, "z": 300, "y": 120, "x": 110}
UNITS = {"t": "minute", "z": "nanometer", "y": "nanometer", "x": "nanometer"}
TYPES = {"t": "time", "c": "channel"}


def metadata(axes="tczyx", levels=3, version="0.5", **more):
    described = []
    for axis in axes:
        entry = {"name": axis, "type": TYPES.get(axis, "space")}
        described.append(entry | ({"unit": UNITS[axis]} if axis in UNITS else {}))
    datasets = []
    for level in range(levels):
        scale = [SCALES[a] * (2**level if a in "yx" else 1) for a in axes]
        datasets.append(
            {"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": scale}]}
        )
    multiscale = {"axes": described, "datasets": datasets, **more}
    if version == "0.4":
        return {"multiscales": [multiscale | {"version": "0.4"}]}
    return {"ome": {"version": "0.5", "multiscales": [multiscale]}}


def write_json(path, attributes, version):
    path.mkdir(parents=True, exist_ok=True)
    if version == "0.4":
        (path / ".zgroup").write_text('{"zarr_format": 2}')
        (path / ".zattrs").write_text(json.dumps(attributes))
    else:
        document = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
        (path / "zarr.json").write_text(json.dumps(document))


def write_image(path, data, axes="tczyx", version="0.5", attributes=None, levels=3):
    write_json(path, attributes or metadata(axes, levels, version), version)
    for level in range(levels):
        step = 2**level
        array = zarr.create_array(
            path / str(level),
            data=np.ascontiguousarray(data[..., ::step, ::step]),
            zarr_format=2 if version == "0.4" else 3,
            chunks=tuple(min(size, 16 // step) for size in data.shape),
            dimension_names=None if version == "0.4" else list(axes),
        )
        assert array.shape[-1] == data.shape[-1] // step
    return path


def edited(data, tmp_path, change, version="0.5"):
    attributes = metadata(version=version)
    change((attributes.get("ome") or attributes)["multiscales"][0])
    return write_image(tmp_path / "a.zarr", data, attributes=attributes, version=version)


def test_the_reader_keeps_the_contract():
    from napari_deblur.registry import readers

    assert isinstance(readers["ome-zarr"](), Reader)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("level", [0, 1, 2])
def test_each_level_has_its_pixels_and_its_voxel_size(tmp_path, hyperstack, version, level):
    path = write_image(tmp_path / "cells.ome.zarr", hyperstack, version=version)
    stack = open_stack(path, level=level)
    assert (stack.axes, stack.levels, stack.name) == ("tczyx", 3, "cells")
    assert stack.pixel_size == pytest.approx((0.3, 0.12 * 2**level, 0.11 * 2**level))
    assert stack.time_step == 30
    np.testing.assert_array_equal(stack.read(2, 1), hyperstack[2, 1, :, :: 2**level, :: 2**level])


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_the_second_opinion_accepts_what_these_tests_write(tmp_path, hyperstack, version):
    from ome_zarr_models import v04, v05

    path = write_image(tmp_path / "cells.ome.zarr", hyperstack, version=version)
    model = (v04 if version == "0.4" else v05).Image
    assert model.from_zarr(zarr.open_group(path, mode="r"))


def test_a_scale_common_to_all_levels_multiplies(tmp_path, hyperstack):
    common = [{"type": "scale", "scale": [2, 1, 0.5, 1, 3]}]
    path = edited(hyperstack, tmp_path, lambda m: m.update(coordinateTransformations=common))
    stack = open_stack(path)
    assert stack.pixel_size == pytest.approx((0.15, 0.12, 0.33))
    assert stack.time_step == 60


@pytest.mark.parametrize(
    ("unit", "size"),
    [("angstrom", 1e-4), ("millimeter", 1e3), ("centimeter", 1e4), ("meter", 1e6), (None, None)],
)
def test_units_become_micrometres_and_none_stays_unknown(tmp_path, hyperstack, unit, size):
    def change(multiscale):
        for axis in multiscale["axes"][2:]:
            axis.pop("unit")
            axis.update({"unit": unit} if unit else {})

    stack = open_stack(edited(hyperstack, tmp_path, change))
    wanted = size and pytest.approx((300 * size, 120 * size, 110 * size))
    assert stack.pixel_size == wanted


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("scale", [0, -120, float("nan"), float("inf")])
def test_a_scale_that_is_not_above_zero_is_refused(tmp_path, hyperstack, version, scale):
    def change(multiscale):
        for dataset in multiscale["datasets"]:
            dataset["coordinateTransformations"][0]["scale"][3] = scale

    with pytest.raises(ValueError, match=r"axis y .* a scale is above 0|break the rules"):
        open_stack(edited(hyperstack, tmp_path, change, version))


@pytest.mark.parametrize("path", ["../0", "a/../../0", "/tmp/0", "..\\0", "file:///0"])
def test_paths_out_of_the_store_are_refused(tmp_path, hyperstack, path):
    store = edited(hyperstack, tmp_path, lambda m: m["datasets"][0].update(path=path))
    shutil.copytree(store / "0", tmp_path / "0")
    with pytest.raises(ValueError, match=r"outside of it|break the rules"):
        open_stack(store)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["axes"].pop(),
        lambda m: m["axes"][3].update(name="x"),
        lambda m: m["datasets"].clear(),
        lambda m: m["datasets"][0].update(coordinateTransformations=[]),
        lambda m: m.pop("datasets"),
    ],
)
def test_metadata_against_the_standard_are_refused(tmp_path, hyperstack, change):
    with pytest.raises(ValueError, match="break the rules"):
        open_stack(edited(hyperstack, tmp_path, change))


def test_a_promised_array_that_is_missing_is_named(tmp_path, hyperstack):
    path = write_image(tmp_path / "a.zarr", hyperstack)
    shutil.rmtree(path / "1")
    assert open_stack(path).levels == 3
    with pytest.raises(ValueError, match='array at "1" that is missing'):
        open_stack(path, level=1)
    with pytest.raises(ValueError, match=r"level=3 was asked for .* 3 resolutions"):
        open_stack(path, level=3)


def test_channels_come_from_omero_even_if_incomplete(tmp_path, hyperstack):
    attributes = metadata()
    attributes["ome"]["omero"] = {
        "channels": [{"label": "DAPI", "color": "0000FF", "emissionWave": 461}, {"color": "?"}]
    }
    path = write_image(tmp_path / "a.zarr", hyperstack, attributes=attributes)
    assert open_stack(path).channels == (Channel("DAPI", "#0000ff", 0.461), Channel())


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_field_of_a_plate_is_named_or_the_only_one(tmp_path, hyperstack, version):
    plate = tmp_path / "plate.zarr"
    wells = [{"path": p, "rowIndex": 0, "columnIndex": i} for i, p in enumerate(("A/1", "A/2"))]
    holder = {"plate": {"wells": wells, "rows": [{"name": "A"}], "columns": [{"name": "1"}]}}
    write_json(plate, {"ome": holder} if version == "0.5" else holder, version)
    for well in wells:
        images = {"well": {"images": [{"path": "0"}, {"path": "1"}]}}
        write_json(plate / "A", {}, version)
        write_json(plate / well["path"], {"ome": images} if version == "0.5" else images, version)
        for name in "01":
            data = hyperstack if name == "0" else hyperstack[::-1]
            write_image(plate / well["path"] / name, data, version=version)
    stack = open_stack(plate, field="A/2/1")
    np.testing.assert_array_equal(stack.read(0, 0), hyperstack[2, 0])
    np.testing.assert_array_equal(reopen(stack.source).read(0, 0), hyperstack[2, 0])
    with pytest.raises(ValueError, match=r"no field is named, of A/1/0, A/1/1, A/2/0, A/2/1"):
        open_stack(plate)
    with pytest.raises(ValueError, match='there is no field "B/1/0"'):
        open_stack(plate, field="B/1/0")
    holder["plate"]["wells"] = wells[:1]
    write_json(plate, {"ome": holder} if version == "0.5" else holder, version)
    images = {"well": {"images": [{"path": "0"}]}}
    write_json(plate / "A/1", {"ome": images} if version == "0.5" else images, version)
    np.testing.assert_array_equal(open_stack(plate).read(0, 0), hyperstack[0, 0])


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_one_of_several_images_of_a_store_is_a_series(tmp_path, hyperstack, version):
    root = tmp_path / "many.zarr"
    layout = {"bioformats2raw.layout": 3}
    write_json(root, {"ome": layout | {"version": "0.5"}} if version == "0.5" else layout, version)
    write_image(root / "0", hyperstack, version=version)
    write_image(root / "1", hyperstack[::-1], version=version)
    np.testing.assert_array_equal(open_stack(root).read(0, 1), hyperstack[0, 1])
    np.testing.assert_array_equal(open_stack(root, series=1).read(0, 1), hyperstack[2, 1])
    with pytest.raises(ValueError, match=r"series=2 was asked for but .* has 2"):
        open_stack(root, series=2)
    listed = {"series": ["1", "0"]}
    write_json(root / "OME", {"ome": listed} if version == "0.5" else listed, version)
    np.testing.assert_array_equal(open_stack(root).read(0, 1), hyperstack[2, 1])


def test_the_coarsest_level_covers_the_region(tmp_path, hyperstack):
    path = write_image(tmp_path / "a.zarr", hyperstack)
    stack = open_stack(path, pixel_size=(0.4, 0.2, 0.1))
    part = stack.selected(times=[2, 0], channels=[1], region=((1, 4), (5, 33), (2, 22)))
    coarse = coarsest(part)
    assert coarse.pixel_size == pytest.approx((0.4, 0.8, 0.4))
    assert coarse.shape == (2, 1, 3, 8, 6)
    np.testing.assert_array_equal(coarse.read(0, 0), hyperstack[2, 1, 1:4, 4:36:4, 0:24:4])
    assert coarsest(coarse) is None
    assert reopen(coarse.source).shape == coarse.shape


def test_other_pixels_metadata_are_noticed(tmp_path, hyperstack):
    path = write_image(tmp_path / "a.zarr", hyperstack)
    source = open_stack(path).source
    assert reopen(source).shape == hyperstack.shape
    write_json(path, metadata(name="renamed"), "0.5")
    with pytest.raises(ValueError, match="has changed since"):
        reopen(source)


def test_an_image_without_channels_or_planes_has_fewer_axes(tmp_path, hyperstack):
    path = write_image(tmp_path / "a.zarr", hyperstack[0, 0, 0], "yx")
    stack = open_stack(path)
    assert (stack.axes, stack.pixel_size) == ("yx", (None, 0.12, 0.11))
