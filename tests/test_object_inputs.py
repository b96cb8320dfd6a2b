"""Images and kernels of all kinds, in a bucket and on the web, as in a folder."""

import shutil
import urllib.request

import numpy as np
import pytest
import tifffile
import zarr

from buckets import running, server, upload  # noqa: F401
from by_hand import numbers
from napari_deblur import many, places
from napari_deblur.job import Job
from napari_deblur.kernels import load_kernel, save_kernel
from napari_deblur.many_inputs import targets_of
from napari_deblur.opening import open_stack, reopen
from napari_deblur.places import place_of
from napari_deblur.plates import images_in
from napari_deblur.protocols import Kernel
from napari_deblur.results import open_result
from napari_deblur.writing import Picture, write_images
from test_plates import write_plate

VOLUME = numbers((6, 40, 50))


def plain(path):
    tifffile.imwrite(path, VOLUME, metadata={"axes": "ZYX"})


def packed(path):
    tifffile.imwrite(path, VOLUME, metadata={"axes": "ZYX"}, compression="zlib", tile=(16, 16))


def ome(path):
    write_images(path, {"a": Picture(VOLUME.astype("f4"), "zyx", (0.3, 0.1, 0.1))})


def bare(path):
    array = zarr.create_array(
        path, shape=VOLUME.shape, chunks=(2, 20, 50), dtype="u2", dimension_names=["z", "y", "x"]
    )
    array[:] = VOLUME


KINDS = {"a.tif": plain, "b.tif": packed, "c.ome.zarr": ome, "d.zarr": bare, "e.ome.tif": ome}


@pytest.mark.parametrize("name", KINDS)
def test_an_image_in_a_bucket_opens_as_in_a_folder(server, tmp_path, name):  # noqa: F811
    KINDS[name](tmp_path / name)
    address = f"s3://cells/in/{name}"
    if (tmp_path / name).is_dir():
        upload(tmp_path / name, address)
    else:
        place_of(address).write_bytes((tmp_path / name).read_bytes())
    there, here = open_stack(address), open_stack(tmp_path / name)
    assert (there.shape, there.axes, there.pixel_size) == (here.shape, here.axes, here.pixel_size)
    assert there.name == here.name
    region = ((1, 4), (5, 30), (7, 41))
    np.testing.assert_array_equal(there.read(0, 0, region), here.read(0, 0, region))
    assert there.source.address == address
    np.testing.assert_array_equal(reopen(there.source).read(0, 0), here.read(0, 0))
    assert Job(address).output_path.name == Job(str(tmp_path / name)).output_path.name


def test_a_tiff_that_is_written_anew_is_another(server, tmp_path):  # noqa: F811
    plain(tmp_path / "a.tif")
    place = place_of("s3://cells/a.tif")
    place.write_bytes((tmp_path / "a.tif").read_bytes())
    source = open_stack("s3://cells/a.tif").source
    place.write_bytes((tmp_path / "a.tif").read_bytes() + b"more")
    with pytest.raises(ValueError, match="has changed since it was opened first"):
        reopen(source)


def test_pixels_in_a_bucket_that_were_replaced_are_noticed(server, tmp_path):  # noqa: F811
    address = "s3://cells/a.zarr"
    zarr.create_array(tmp_path / "a", data=VOLUME, chunks=(2, 20, 25), dimension_names=list("zyx"))
    zarr.create_array(tmp_path / "b", data=VOLUME + 1, chunks=(2, 20, 25))
    shutil.copyfile(tmp_path / "a/zarr.json", tmp_path / "b/zarr.json")
    upload(tmp_path / "a", address)
    server.requests.clear()
    source = open_stack(address).source
    assert sum(server.requests.values()) < 40  # of 12 chunks 8 are looked at
    upload(tmp_path / "b", address)
    with pytest.raises(ValueError, match="has changed since it was opened first"):
        reopen(source)
    upload(tmp_path / "a", address)
    assert reopen(source).source == source


def test_a_pattern_of_addresses_is_looked_up(server, tmp_path, job):  # noqa: F811
    bare(tmp_path / "a.zarr")
    for name in ("in/one.zarr", "in/two.zarr", "in/b/two.zarr", "in/other.deblur.zarr"):
        upload(tmp_path / "a.zarr", f"s3://cells/{name}")
    plain(tmp_path / "a.tif")
    place_of("s3://cells/in/a.tif").write_bytes((tmp_path / "a.tif").read_bytes())

    def found(pattern):
        inputs = [one.input for one in targets_of(job, [pattern], "s3://cells/out/")]
        return [name.removeprefix("s3://cells/") for name in inputs]

    assert found("s3://cells/in/t*.zarr") == ["in/two.zarr"]
    assert found("s3://cells/in/*o*.zarr") == ["in/one.zarr", "in/two.zarr"]
    assert found("s3://cells/in/*.deblur.zarr") == ["in/other.deblur.zarr"]
    assert found("s3://cells/i*/*.tif") == ["in/a.tif"]
    assert found("s3://cells/in/*/two.zarr") == ["in/b/two.zarr"]
    with pytest.raises(FileNotFoundError, match=r'nothing matches "s3://cells/in/x\*"'):
        found("s3://cells/in/x*")
    *_, last = many.run(job, ["s3://cells/in/o*e.zarr"], "s3://cells/out/")
    assert (last.count, last.outcome.state) == (1, "complete")
    assert open_result("s3://cells/out/one.deblur.zarr").complete


def test_a_folder_of_a_bucket_is_no_image(server, tmp_path):  # noqa: F811
    upload(tmp_path, "s3://cells/in")
    place_of("s3://cells/in/a.txt").write_bytes(b".")
    with pytest.raises(ValueError, match=r"named by a pattern such as s3://BUCKET/NAME/\*\.zarr"):
        open_stack("s3://cells/in")


def test_a_tiff_that_is_cut_short_is_refused(server, tmp_path):  # noqa: F811
    plain(tmp_path / "a.tif")
    place_of("s3://cells/a.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:9000])
    with pytest.raises(ValueError, match="cut short"):
        open_stack("s3://cells/a.tif")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_the_fields_of_a_plate_in_a_bucket(server, tmp_path, version):  # noqa: F811
    plate = write_plate(tmp_path / "plate.zarr", version)
    upload(plate, "s3://cells/plate.zarr")
    assert images_in("s3://cells/plate.zarr") == images_in(str(plate))
    there, here = (open_stack(a, field="B/2/1") for a in ("s3://cells/plate.zarr", plate))
    np.testing.assert_array_equal(there.read(0, 0), here.read(0, 0))


def test_the_web_is_read_without_credentials(server, tmp_path):  # noqa: F811
    bare(tmp_path / "d.zarr")
    for file in (tmp_path / "d.zarr").rglob("*"):
        if file.is_file():
            name = file.relative_to(tmp_path).as_posix()
            said = {"x-amz-acl": "public-read", "Content-Type": "application/octet-stream"}
            url = f"{server.url}/cells/{name}"
            put = urllib.request.Request(url, file.read_bytes(), said, method="PUT")
            urllib.request.urlopen(put).close()
    heard = []
    server.heard = heard.append
    stack = open_stack(f"{server.url}/cells/d.zarr")
    np.testing.assert_array_equal(stack.read(0, 0), VOLUME)
    assert set(heard) == {""}


@pytest.mark.parametrize("name", ["k.tif", "k.npz", "k.zarr"])
def test_kernels_are_read_from_a_bucket(server, tmp_path, name):  # noqa: F811
    save_kernel(
        Kernel(np.random.default_rng(0).random((3, 5, 5)), (0.3, 0.1, 0.1)), tmp_path / name
    )
    if name == "k.zarr":
        upload(tmp_path / name, f"s3://cells/{name}")
    else:
        place_of(f"s3://cells/{name}").write_bytes((tmp_path / name).read_bytes())
    there, here = load_kernel(f"s3://cells/{name}"), load_kernel(tmp_path / name)
    np.testing.assert_array_equal(there.array, here.array)
    assert there.pixel_size == here.pixel_size


def test_nothing_there_is_said(server):  # noqa: F811
    for ask in (open_stack, open_result, load_kernel):
        with pytest.raises(FileNotFoundError, match=r"there is no|no result at|there is nothing"):
            ask("s3://cells/none.zarr")
    with pytest.raises(FileNotFoundError, match='there is no bucket "none-such"'):
        open_stack("s3://none-such/a.zarr")


def test_an_input_that_is_gone_is_no_damage(server, tmp_path):  # noqa: F811
    bare(tmp_path / "d.zarr")
    upload(tmp_path / "d.zarr", "s3://cells/d.zarr")
    stack = open_stack("s3://cells/d.zarr")
    places.remove_tree(place_of("s3://cells/d.zarr"))
    with pytest.raises(FileNotFoundError, match="no longer there"):
        stack.read(0, 0)


def test_what_is_not_read_over_a_network_is_said(server, tmp_path):  # noqa: F811
    from PIL import Image

    Image.fromarray(VOLUME[0].astype("u1")).save(tmp_path / "a.png")
    place_of("s3://cells/a.png").write_bytes((tmp_path / "a.png").read_bytes())
    with pytest.raises(ValueError, match=r'no zarr store and no TIFF at "s3://cells/a\.png": over'):
        open_stack("s3://cells/a.png")
