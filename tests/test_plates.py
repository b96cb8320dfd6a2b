"""Plates, positions and series: every image of an input has an output of its own."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from typer.testing import CliRunner

from napari_deblur import cli, many
from napari_deblur.many_inputs import targets_of
from napari_deblur.opening import open_stack
from napari_deblur.plates import Image, images_in
from napari_deblur.results import open_result

WELLS = ("A/1", "B/2")


def pixels(seed):
    return np.random.default_rng(seed).poisson(50, (20, 22)).astype("u2")


def write_group(path, attributes, version="0.5"):
    path.mkdir(parents=True, exist_ok=True)
    if version == "0.4":
        (path / ".zgroup").write_text('{"zarr_format": 2}')
        (path / ".zattrs").write_text(json.dumps(attributes))
    else:
        held = {"ome": {"version": "0.5", **attributes}} if attributes else {}
        document = {"zarr_format": 3, "node_type": "group", "attributes": held}
        (path / "zarr.json").write_text(json.dumps(document))


def write_image(path, seed, version="0.5"):
    axes = [{"name": a, "type": "space", "unit": "micrometer"} for a in "yx"]
    scale = [{"type": "scale", "scale": [0.2, 0.1]}]
    pyramid = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
    if version == "0.4":
        pyramid["version"] = "0.4"
    write_group(path, {"multiscales": [pyramid]}, version)
    form = 2 if version == "0.4" else 3
    zarr.create_array(path / "0", data=pixels(seed), zarr_format=form)


def write_plate(path, version="0.5", wells=WELLS, fields="01"):
    listed = [{"path": w, "rowIndex": i, "columnIndex": i} for i, w in enumerate(wells)]
    axes = {"rows": [{"name": w[0]} for w in wells], "columns": [{"name": w[2]} for w in wells]}
    write_group(path, {"plate": {"wells": listed, **axes}}, version)
    for i, well in enumerate(wells):
        write_group(path / well[0], {}, version)
        write_group(path / well, {"well": {"images": [{"path": f} for f in fields]}}, version)
        for field in fields:
            write_image(path / well / field, 10 * i + int(field), version)
    return path


def write_series(path, count=3):
    with tifffile.TiffWriter(path, ome=True) as tif:
        for n in range(count):
            tif.write(pixels(n), metadata={"axes": "YX", "Name": f"Position {n}"})
    return path


def places(job, *inputs):
    found = targets_of(job, [str(one) for one in inputs], "out")
    return [target.output.relative_to("out").as_posix() for target in found]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_every_field_of_every_well_of_a_plate_is_an_image(tmp_path, version, job):
    plate = write_plate(tmp_path / "plate.zarr", version)
    fields = [f"{well}/{n}" for well in WELLS for n in "01"]
    assert images_in(str(plate)) == tuple(Image(field=field) for field in fields)
    assert places(job, plate) == [f"plate/{field}.deblur.zarr" for field in fields]
    # Alone or among others, a plate's results have the same place.
    other = write_plate(tmp_path / "other.zarr", version, wells=["C/3"], fields="0")
    assert places(job, other, plate)[0] == "other/C/3/0.deblur.zarr"
    assert places(job, other, plate)[1:] == places(job, plate)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_every_series_of_a_store_is_an_image(tmp_path, version, job):
    store = tmp_path / "many.zarr"
    write_group(store, {"bioformats2raw.layout": 3}, version)
    for n in range(3):
        write_image(store / str(n), n, version)
    assert [i.series for i in images_in(str(store))] == [0, 1, 2]
    assert places(job, store) == [f"many/{n}.deblur.zarr" for n in range(3)]
    write_group(store / "OME", {"series": ["2", "0"]}, version)
    listed = images_in(str(store))
    assert [(i.series, i.title) for i in listed] == [(0, "2"), (1, "0")]
    np.testing.assert_array_equal(open_stack(store, series=0).read(0, 0)[0], pixels(2))


def test_every_series_of_an_ome_tiff_is_an_image_with_its_name(tmp_path, job):
    path = write_series(tmp_path / "positions.ome.tif")
    found = images_in(str(path))
    assert [(i.series, i.title) for i in found] == [(n, f"Position {n}") for n in range(3)]
    assert places(job, path) == [f"positions/{n}.deblur.zarr" for n in range(3)]
    assert images_in(str(write_series(tmp_path / "one.ome.tif", count=1))) == (Image(),)


def test_a_command_says_which_of_several_images_it_takes(tmp_path, job):
    path = write_series(tmp_path / "positions.ome.tif")
    words = ["--kernel", job.kernel, "--method", "wiener", "--plan"]
    out = str(tmp_path / "a.deblur.zarr")
    said = CliRunner().invoke(cli.app, ["run", str(path), out, *words])
    assert said.exit_code == 0, said.output
    note = (
        f'"{path}" holds 3 images, and this is the first, "Position 0": name another one by '
        "--series 1 to 2, or a folder as output for all of them"
    )
    assert note in said.stderr.splitlines()
    assert note in CliRunner().invoke(cli.app, ["info", str(path)]).stderr.splitlines()
    for more in (["--series", "0"], ["--series", "2"]):
        said = CliRunner().invoke(cli.app, ["run", str(path), out, *words, *more])
        assert "holds 3 images" not in said.output
    one = write_series(tmp_path / "one.ome.tif", count=1)
    assert "images" not in CliRunner().invoke(cli.app, ["info", str(one)]).stderr


def test_thumbnails_of_other_tiffs_are_no_images(tmp_path):
    with tifffile.TiffWriter(tmp_path / "scan.tif") as tif:
        tif.write(pixels(0), metadata=None)
        tif.write(pixels(1)[::2, ::2], metadata=None)
    assert images_in(str(tmp_path / "scan.tif")) == (Image(),)


def test_only_the_series_or_field_that_is_asked_for_is_taken(tmp_path, job):
    plate = write_plate(tmp_path / "plate.zarr")
    path = write_series(tmp_path / "positions.ome.tif")
    single = write_series(tmp_path / "one.ome.tif", count=1)
    assert places(replace(job, field="/B/2/1"), plate) == ["plate/B/2/1.deblur.zarr"]
    assert places(replace(job, series=1), path) == ["positions/1.deblur.zarr"]
    assert places(replace(job, series=0), path, single) == [
        "positions/0.deblur.zarr",
        "one.deblur.zarr",
    ]
    # What is not there fails when its turn comes, in the words of its reader.
    outcomes = [
        step.outcome
        for step in many.run(replace(job, series=7), [str(path)], tmp_path / "out")
        if step.outcome
    ]
    assert "series=7 was asked for but" in outcomes[0].note


def test_a_plate_is_restored_field_by_field_and_resumed(tmp_path, job):
    plate = write_plate(tmp_path / "plate.zarr")
    out = tmp_path / "out"
    outcomes = [s.outcome for s in many.run(job, [str(plate)], out) if s.outcome]
    assert [(o.state, o.image) for o in outcomes] == [
        ("complete", f"{well}/{n}") for well in WELLS for n in "01"
    ]
    for well in WELLS:
        for n in "01":
            result = open_result(out / "plate" / well / f"{n}.deblur.zarr")
            assert result.complete
            assert result.plan.source.field == f"{well}/{n}"
            assert result.pixel_size == (None, 0.2, 0.1)
    alone = replace(job, input=str(plate), field="B/2/1", output=str(out / "x.zarr"))
    list(alone.run())
    np.testing.assert_array_equal(
        open_result(out / "plate/B/2/1.deblur.zarr").levels[0],
        open_result(out / "x.zarr").levels[0],
    )
    again = [s.outcome for s in many.run(job, [str(plate)], out) if s.outcome]
    assert {o.note for o in again} == {"it was complete already"}


def test_a_well_that_is_missing_fails_alone(tmp_path, job):
    plate = write_plate(tmp_path / "plate.zarr", fields="0")
    (plate / "B" / "2" / "zarr.json").unlink()
    outcomes = [s.outcome for s in many.run(job, [str(plate)], tmp_path / "out") if s.outcome]
    assert [(o.image, o.state) for o in outcomes] == [("A/1/0", "complete"), ("B/2/0", "failed")]
    assert "B/2" in outcomes[1].note


@pytest.mark.parametrize("path", ["../../outside", "/etc", "C:/there"])
def test_a_plate_cannot_send_results_elsewhere(tmp_path, job, path):
    plate = write_plate(tmp_path / "plate.zarr", fields="0")
    write_group(plate / "A" / "1", {"well": {"images": [{"path": path}]}})
    with pytest.raises(ValueError, match="point outside of it"):
        images_in(str(plate))
    out = tmp_path / "a" / "b" / "out"
    (outcome,) = (s.outcome for s in many.run(job, [str(plate)], out) if s.outcome)
    assert outcome.state == "failed"
    assert {p.name for p in Path(tmp_path).rglob("*.deblur.zarr")} == set()


def test_a_reader_of_others_names_its_images_itself(tmp_path, monkeypatch):
    class Positions:
        patterns = ("*.positions",)

        def accepts(self, address):
            return address.endswith(".positions")

        def titles(self, address):
            return ("left", "right")

    monkeypatch.setattr("napari_deblur.plates.readers", {"positions": Positions})
    assert [(i.series, i.title) for i in images_in("a.positions")] == [(0, "left"), (1, "right")]
    assert images_in("a.other") == (Image(),)
