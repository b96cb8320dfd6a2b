"""Files from strangers: each is refused in one sentence, and nothing of it is run or followed."""

import bz2
import gzip
import json
import lzma
import os
import pickle
import shutil
import struct
import sys
import threading
import zipfile
import zlib
from pathlib import Path

import numcodecs
import numpy as np
import pytest
import tifffile
import torch
import zarr
from safetensors.torch import save_file
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec
from zarr.core.buffer import Buffer

import napari_deblur as nd
from by_hand import small
from napari_deblur.batch import replay, run
from napari_deblur.gdunet.weights import FOLDER, described, digest, load_network
from napari_deblur.job import Job
from napari_deblur.opening import open_stack
from napari_deblur.plates import images_in
from napari_deblur.stack import Optics
from napari_deblur.writing import Picture, write_images

VOLUME = np.random.default_rng(3).integers(1, 60000, (4, 24, 20)).astype("u2")
WEIGHTS = sorted(FOLDER.glob("*.safetensors"))[0]


def refusal(call, *args, error=(ValueError, OSError)):
    """Give what is said, in one line, by a call that is refused."""
    with pytest.raises(error) as caught:
        call(*args)
    said = str(caught.value)
    assert "\n" not in said
    assert len(said) < 600
    return said


class Canary:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


# zarr --------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path):
    zarr.create_array(tmp_path / "a.zarr", data=VOLUME, chunks=(4, 12, 10))
    return tmp_path / "a.zarr"


def changed(store, **values):
    """Write other metadata into an array's zarr.json."""
    known = json.loads((store / "zarr.json").read_text())
    (store / "zarr.json").write_text(json.dumps(known | values))
    return store


def chunk_shape(*shape):
    return {"name": "regular", "configuration": {"chunk_shape": shape}}


def read(path, **kwargs):
    return open_stack(path, "zyx", **kwargs).read(0, 0)


@pytest.mark.parametrize(
    "values",
    [
        {"shape": [10**9, 10**9, 10**9]},
        {"shape": [2**62, 2**62, 4]},
        {"shape": [2**40, 2**40, 0]},
        {"shape": [-4, 24, 20]},
        {"shape": [4.5, 24, 20]},
        {"shape": [4, 24]},
        {"shape": "big"},
        {"chunk_grid": chunk_shape(10**6, 10**6, 10**6)},
        {"chunk_grid": chunk_shape(4, 12, 0)},
        {"chunk_grid": chunk_shape(-4, 12, 10)},
        {"chunk_grid": {"name": "os.system", "configuration": {"chunk_shape": [4, 12, 10]}}},
        {"data_type": "os.system"},
        {"data_type": {"name": "builtins.eval", "configuration": {"source": "1"}}},
        {"data_type": "complex64", "fill_value": [0, 0]},
        {"codecs": [{"name": "os.system", "configuration": {"command": "true"}}]},
        {"codecs": [{"name": "numcodecs.pickle", "configuration": {}}]},
        {"codecs": []},
        {"node_type": "file"},
        {"zarr_format": 99},
        {"storage_transformers": [{"name": "http", "configuration": {"url": "http://x"}}]},
    ],
)
def test_metadata_that_promise_what_cannot_be_are_refused(store, values):
    changed(store, **values)
    refusal(read, store)


def test_metadata_of_absurd_depth_are_refused(store):
    (store / "zarr.json").write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
    refusal(read, store)


@pytest.mark.parametrize("text", ['{"a":' * 100_000 + "1" + "}" * 100_000, "[]", "3", "null", "[1"])
def test_metadata_of_an_image_in_a_store_are_looked_at_too(tmp_path, text):
    write_images(tmp_path / "a.zarr", {"a": Picture(VOLUME.astype("f4"), "zyx", (0.3, 0.1, 0.1))})
    (tmp_path / "a.zarr/0/zarr.json").write_text(text)
    assert 'promises an array at "0"' in refusal(open_stack, tmp_path / "a.zarr")


@pytest.mark.parametrize(
    "ours",
    [
        [1],
        "abc",
        {"optics": 5},
        {"optics": "abc"},
        {"optics": {"na": float("nan"), "n_immersion": -3, "n_sample": "x", "magnification": [1]}},
        {"plan": {"layout": {"optics": [1, 2]}}},
    ],
)
def test_optics_that_make_no_sense_are_unknown(tmp_path, ours):
    write_images(tmp_path / "a.zarr", {"a": Picture(VOLUME.astype("f4"), "zyx", (0.3, 0.1, 0.1))})
    zarr.open_group(tmp_path / "a.zarr").attrs["napari_deblur"] = ours
    assert open_stack(tmp_path / "a.zarr").optics == Optics()


@pytest.mark.parametrize("wells", [5, [5], [{}], {"path": "a"}])
def test_a_plate_that_names_no_wells_is_refused(tmp_path, wells):
    zarr.create_group(tmp_path / "a.zarr").attrs["ome"] = {
        "version": "0.5",
        "plate": {"wells": wells},
    }
    assert "does not list its wells" in refusal(images_in, str(tmp_path / "a.zarr"))
    assert "does not list its wells" in refusal(open_stack, tmp_path / "a.zarr")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["c/0/0/0", "zarr.json"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path, name):
    write_images(tmp_path / "a.zarr", {"a": Picture(VOLUME.astype("f4"), "zyx", (0.3, 0.1, 0.1))})
    (tmp_path / "a.zarr/0" / name).unlink()
    os.mkfifo(tmp_path / "a.zarr/0" / name)
    assert "neither a file nor a folder" in refusal(
        lambda: open_stack(tmp_path / "a.zarr").read(0, 0)
    )


def test_attributes_import_nothing(store):
    before = set(sys.modules)
    changed(store, attributes={"__class__": "antigravity:fly", "type": "antigravity"})
    np.testing.assert_array_equal(read(store), VOLUME)
    assert "antigravity" not in set(sys.modules) - before


@pytest.mark.parametrize("what", ["chunk", "folder", "metadata"])
def test_links_out_of_a_store_are_not_followed(tmp_path, store, what):
    away = tmp_path / "away"
    here = {"chunk": store / "c/0/0/0", "folder": store / "c/0/0", "metadata": store / "zarr.json"}
    here[what].rename(away)
    try:
        here[what].symlink_to(away)
    except OSError:
        pytest.skip("links are not allowed here")
    assert "is a link to" in refusal(read, store)


def test_links_inside_a_store_and_to_it_are_followed(tmp_path, store):
    (store / "c/0/0/0").rename(store / "elsewhere")
    try:
        (store / "c/0/0/0").symlink_to(store / "elsewhere")
        (tmp_path / "link.zarr").symlink_to(store)
    except OSError:
        pytest.skip("links are not allowed here")
    np.testing.assert_array_equal(read(tmp_path / "link.zarr"), VOLUME)


def test_folders_are_looked_at_once_and_heads_of_chunks_are_copied(tmp_path, monkeypatch):
    path = tmp_path / "many.zarr"
    zarr.create_array(path, data=VOLUME, chunks=(1, 4, 4))
    stack = open_stack(path, "zyx")
    resolved, copied, threads = [], [], set()
    resolve, to_bytes = Path.resolve, Buffer.to_bytes

    def followed(self, *args, **kwargs):
        resolved.append(self)
        threads.add(threading.current_thread().name)
        return resolve(self, *args, **kwargs)

    monkeypatch.setattr(Path, "resolve", followed)
    monkeypatch.setattr(Buffer, "to_bytes", lambda self: copied.append(len(self)) or to_bytes(self))
    for z, y, x in np.ndindex(4, 6, 5):
        stack.read(0, 0, ((z, z + 1), (4 * y, 4 * y + 4), (4 * x, 4 * x + 4)))
    assert len(resolved) == 4 * 6
    assert "zarr_io" not in threads  # where all reads would wait for it
    assert len(copied) == 4 * 6 * 5
    assert max(copied) <= 18


@pytest.mark.parametrize("bomb", [2**26, 2**60])
def test_a_chunk_that_unpacks_to_more_than_a_chunk_is_refused(store, bomb):
    from imagecodecs import zstd_encode

    raw = zstd_encode(np.zeros(2**26, "u1")) if bomb == 2**26 else b"\x28\xb5\x2f\xfd\xe0"
    (store / "c/0/0/0").write_bytes(raw if bomb == 2**26 else raw + bomb.to_bytes(8, "little"))
    assert f"would become {bomb} bytes or more, and a chunk has" in refusal(read, store)


BOMB = bytes(2**25)


@pytest.mark.parametrize(
    ("settings", "packed"),
    [
        ({"compressors": GzipCodec()}, lambda: gzip.compress(BOMB, 1)),
        ({"compressors": [GzipCodec(), Crc32cCodec()]}, lambda: gzip.compress(BOMB, 1)),
        ({"compressors": GzipCodec()}, lambda: gzip.compress(BOMB[:900], 1) * 100),
        ({"zarr_format": 2, "compressors": numcodecs.Zlib()}, lambda: zlib.compress(BOMB, 1)),
        ({"zarr_format": 2, "compressors": numcodecs.BZ2()}, lambda: bz2.compress(BOMB)),
        ({"zarr_format": 2, "compressors": numcodecs.LZMA()}, lambda: lzma.compress(BOMB)),
        ({"zarr_format": 2, "compressors": numcodecs.LZ4()}, lambda: numcodecs.LZ4().encode(BOMB)),
        ({"compressors": BloscCodec()}, lambda: numcodecs.Blosc("zstd").encode(BOMB)),
    ],
)
def test_chunks_of_no_codec_unpack_to_more_than_a_chunk(tmp_path, settings, packed):
    zarr.create_array(tmp_path / "a", data=VOLUME, chunks=(4, 12, 10), **settings)
    np.testing.assert_array_equal(read(tmp_path / "a"), VOLUME)
    chunks = [p for p in (tmp_path / "a").rglob("*") if p.name == "0.0.0" or p.match("c/0/0/0")]
    chunks[0].write_bytes(packed())
    assert " bytes or more, and a chunk has " in refusal(read, tmp_path / "a")


@pytest.mark.parametrize(
    ("settings", "size"),
    [({}, 2), ({"fill_value": 7}, 2), ({"shards": (4, 24, 20)}, 1), ({"zarr_format": 2}, 2)],
)
def test_a_missing_chunk_is_refused_unless_that_is_meant(tmp_path, settings, size):
    holes = VOLUME.copy()
    holes[:, : 12 * 2 // size, : 10 * 2 // size] = settings.get("fill_value", 0)
    for name, data in (("lost", VOLUME), ("meant", holes)):
        zarr.create_array(tmp_path / name, data=data, chunks=(4, 12, 10), **settings)
    (first,) = [
        p for p in (tmp_path / "lost").rglob("*") if p.name == "0.0.0" or p.match("c/0/0/0")
    ]
    first.unlink()
    for name in ("lost", "meant"):
        assert "is missing, and would be taken for empty" in refusal(read, tmp_path / name)
        np.testing.assert_array_equal(read(tmp_path / name, sparse=True), holes)


@pytest.mark.parametrize("settings", [{}, {"shards": (4, 24, 20)}, {"zarr_format": 2}])
def test_a_sparse_array_that_goes_away_is_not_all_empty(tmp_path, settings):
    zarr.create_array(tmp_path / "a", data=VOLUME, chunks=(4, 12, 10), **settings)
    stack = open_stack(tmp_path / "a", "zyx", sparse=True)
    assert stack.read(0, 0).any()
    shutil.rmtree(tmp_path / "a")
    with pytest.raises(FileNotFoundError, match="no longer there"):
        stack.read(0, 0)


def test_a_missing_chunk_is_no_data_where_the_fill_value_says_so(tmp_path):
    array = VOLUME.astype("f4")
    zarr.create_array(tmp_path / "a", data=array, chunks=(4, 12, 10), fill_value=np.nan)
    (tmp_path / "a/c/0/1/1").unlink()
    array[:, 12:, 10:] = np.nan
    np.testing.assert_array_equal(read(tmp_path / "a"), array)


@pytest.mark.parametrize("settings", [{}, {"shards": (4, 24, 20)}, {"zarr_format": 2}])
def test_a_chunk_of_no_bytes_is_refused_even_in_a_sparse_store(tmp_path, settings):
    zarr.create_array(tmp_path / "a", data=VOLUME, chunks=(4, 12, 10), **settings)
    for file in (tmp_path / "a").rglob("*"):
        if file.name == "0.0.0" or file.match("c/0/0/0"):
            file.write_bytes(b"")
    with pytest.raises(ValueError, match="has 0 bytes"):
        read(tmp_path / "a", sparse=True)


def test_a_sparse_store_is_known_again_in_a_job(tmp_path):
    zarr.create_array(tmp_path / "a", data=VOLUME, chunks=(4, 12, 10))
    (tmp_path / "a/c/0/1/1").unlink()
    job = Job(str(tmp_path / "a"), axes="zyx", sparse=True)
    job.save(tmp_path / "job.toml")
    stack = Job.load(tmp_path / "job.toml").open()
    assert (stack.read(0, 0)[:, 12:, 10:] == 0).all()
    assert (nd.opening.reopen(stack.source).read(0, 0)[:, 12:, 10:] == 0).all()


def test_a_failing_read_leaves_no_noise_behind(tmp_path):
    """zarr reads on after a failure; a program that ended then printed pages of tracebacks."""
    import subprocess

    zarr.create_array(tmp_path / "a", data=np.tile(VOLUME, (2, 2, 2)), chunks=(1, 6, 5))
    (tmp_path / "a/c/0/1/1").unlink()
    code = (
        "import sys\nfrom napari_deblur.opening import open_stack\n"
        "try:\n    open_stack(sys.argv[1], 'zyx').read(0, 0)\n"
        "except ValueError:\n    print('refused')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "a"], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("refused\n", "")


# zipped stores -----------------------------------------------------------------------------------


def zipped(store, path, **more):
    with zipfile.ZipFile(path, "w") as file:
        for member in sorted(store.rglob("*")):
            if member.is_file():
                file.write(member, member.relative_to(store).as_posix())
        for name, content in more.items():
            file.writestr(name, content)
    return path


def test_a_zip_is_not_unpacked(tmp_path, store):
    path = zipped(store, tmp_path / "a.zarr.zip", **{"../evil": "x", "/evil": "x"})
    before = sorted(tmp_path.iterdir())
    assert "of no known kind" in refusal(read, path)
    assert sorted(tmp_path.iterdir()) == before


def test_a_zip_by_its_url_is_read_in_place_with_the_same_checks(tmp_path, store):
    pytest.importorskip("fsspec")
    path = zipped(store, tmp_path / "a.zip", **{"../evil": "x"})
    url = f"zip://::file://{path}"
    before = sorted(tmp_path.iterdir())
    np.testing.assert_array_equal(read(url), VOLUME)
    changed(store, chunk_grid=chunk_shape(10**6, 10**6, 10**6))
    zipped(store, path)
    assert "declare chunks" in refusal(read, url)
    assert sorted(tmp_path.iterdir()) == before


# TIFF --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        ("ImageWidth", 2**31 - 1),
        ("ImageLength", 2**31 - 1),
        ("RowsPerStrip", 0),
        ("SamplesPerPixel", 60000),
        ("BitsPerSample", 65535),
        ("StripOffsets", 2**31 - 1),
        ("StripOffsets", 0),
        ("StripByteCounts", 0),
        ("StripByteCounts", 2**31 - 1),
    ],
)
@pytest.mark.parametrize("packed", [None, "zlib"])
def test_a_tiff_that_declares_what_is_not_there_is_refused(tmp_path, caplog, tag, value, packed):
    caplog.set_level("CRITICAL")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, VOLUME[0], compression=packed, metadata=None)
    with tifffile.TiffFile(path, mode="r+") as tif:
        tif.pages.first.tags[tag].overwrite(value)
    if packed is None and (tag, value) in NOT_NEEDED:
        np.testing.assert_array_equal(read_flat(path), VOLUME[0])
    else:
        refusal(read_flat, path)


# Unpacked pixels lie in one piece, whatever these say.
NOT_NEEDED = {("RowsPerStrip", 0), ("StripByteCounts", 0), ("StripByteCounts", 2**31 - 1)}


def read_flat(path):
    return open_stack(path, "yx").read(0, 0)[0]


def test_a_directory_of_more_tags_than_bytes_is_refused(tmp_path):
    (tmp_path / "a.tif").write_bytes(struct.pack("<2sHIH", b"II", 42, 8, 65535) + bytes(100))
    refusal(read_flat, tmp_path / "a.tif")


BILLION = '<?xml version="1.0"?><!DOCTYPE OME [<!ENTITY a0 "lol">{}]><OME xmlns="OME">&a12;</OME>'
OUTSIDE = '<?xml version="1.0"?><!DOCTYPE OME [<!ENTITY e SYSTEM "file://{}">]><OME>&e;</OME>'


@pytest.mark.parametrize("kind", ["billion laughs", "file"])
def test_xml_neither_grows_nor_reads_files(tmp_path, caplog, kind):
    caplog.set_level("CRITICAL")
    (tmp_path / "secret").write_text("secret")
    laughs = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 13))
    text = BILLION.format(laughs) if kind == "billion laughs" else OUTSIDE
    text = text.replace("{}", (tmp_path / "secret").as_posix())
    tifffile.imwrite(
        tmp_path / "a.ome.tif", VOLUME, description=text, metadata=None, photometric="minisblack"
    )
    said = refusal(read, tmp_path / "a.ome.tif")
    assert "secret" not in said


# Weights -----------------------------------------------------------------------------------------


def weights(path, change=lambda tensors: None, **texts):
    """Write packaged weights with something changed."""
    from safetensors import safe_open

    with safe_open(WEIGHTS, framework="pt") as file:
        known = file.metadata() | texts
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    change(tensors)
    save_file(tensors, path, known)
    return path


def loaded(path):
    return load_network(path, digest(path))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path, value):
    def spoil(tensors):
        next(iter(tensors.values())).view(-1)[0] = value

    assert "not finite" in refusal(loaded, weights(tmp_path / "w.safetensors", spoil))


def test_weights_that_changed_since_the_plan_are_refused(tmp_path):
    def nudge(tensors):
        next(iter(tensors.values())).view(-1)[0] += 1e-3

    path = weights(tmp_path / "w.safetensors", nudge)
    loaded(path)
    assert "it has changed" in refusal(load_network, path, digest(WEIGHTS))


def configuration(**changes):
    from safetensors import safe_open

    with safe_open(WEIGHTS, framework="pt") as file:
        return json.dumps(json.loads(file.metadata()["configuration"]) | changes)


@pytest.mark.parametrize(
    "text",
    [
        {"width": 10**7},
        {"stages": 10**9},
        {"encoder": [10**9] * 3},
        {"encoder": [1] * 100_000},
        {"encoder": []},
        {"width": -1},
        {"width": "12"},
        {"stages": 1.5},
        {"stages": None},
        {"dense": 10**9},
        {"dense": 1, "dense_encoder": [10**9, 1]},
        {"dense": 1, "dense_widths": [10**7, 10**7]},
        {"dense": 1, "dense_widths": []},
        {"dense": 1, "dense_decoder": [1, 1, 1]},
        {"kernel_step": "__import__('os').system('true')"},
        {"unknown": 1},
        "[1]",
        "no JSON",
        "[" * 100_000,
        "1e999",
    ],
)
def test_a_few_bytes_that_promise_a_huge_or_foreign_network_are_refused(tmp_path, text):
    text = text if isinstance(text, str) else configuration(**text)
    path = weights(tmp_path / "w.safetensors", configuration=text)
    assert "holds no weights of this version's network" in refusal(loaded, path)


@pytest.mark.parametrize("change", ["fewer", "more", "larger", "other"])
def test_tensors_that_are_not_the_networks_are_refused(tmp_path, change):
    def altered(tensors):
        name = next(iter(tensors))
        if change == "more":
            tensors["own"] = torch.zeros(1)
        if change == "larger":
            tensors[name] = torch.zeros(64, *tensors[name].shape)
        if change in ("fewer", "other"):
            taken = tensors.pop(name)
            if change == "other":
                tensors["own"] = taken

    refusal(loaded, weights(tmp_path / "w.safetensors", altered))


def test_pickled_weights_are_never_unpacked(tmp_path):
    for name, content in (
        ("torch", None),
        ("pickle", pickle.dumps(Canary(tmp_path / "ran"))),
    ):
        path = tmp_path / f"{name}.safetensors"
        if content is None:
            torch.save({"a": Canary(tmp_path / "ran")}, path)
        else:
            path.write_bytes(content)
        refusal(loaded, path)
        refusal(described, path)
    assert not (tmp_path / "ran").exists()


def test_a_header_that_is_longer_than_its_file_is_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    for raw in (b"", b"\xff" * 8, (2**40).to_bytes(8, "little") + b"{}", WEIGHTS.read_bytes()[:-4]):
        path.write_bytes(raw)
        refusal(loaded, path)


# Jobs and kernels --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        'input = "a.tif"\nrun = "rm -rf /"',
        'input = "a.tif"\nmethod = "os.system"',
        'input = "a.tif"\n[parameters]\n__class__ = "os"',
        'input = "a.tif"\nmethod = "wiener"\n[parameters]\ncode = "1"',
        "!!python/object/apply:os.system [true]",
        '{"input": "a.tif"}',
        "input = 3",
        "input = " + "[" * 5000 + "]" * 5000,
        "\x00\x01",
    ],
)
def test_a_job_is_words_and_numbers_and_nothing_else(tmp_path, text):
    (tmp_path / "job.toml").write_text(text)

    def asked():
        return Job.load(tmp_path / "job.toml").restorer()

    refusal(asked, error=(ValueError, LookupError))


def test_pickled_kernels_are_never_unpacked(tmp_path):
    held = np.array([[Canary(tmp_path / "ran")]], dtype=object)
    np.save(tmp_path / "k.npy", held, allow_pickle=True)
    np.savez(tmp_path / "k.npz", basis=held)
    (tmp_path / "p.npy").write_bytes(pickle.dumps(Canary(tmp_path / "ran")))
    for name in ("k.npy", "k.npz", "p.npy"):
        with pytest.raises((ValueError, OSError)):
            nd.plan(VOLUME[0], "wiener", kernel=str(tmp_path / name))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["os.system", "napari_deblur.job:Job", "../../evil", "__init__"])
def test_a_result_names_methods_of_the_catalogue_and_nothing_else(tmp_path, name):
    plan, stack = small()
    list(run(plan, tmp_path / "a.zarr", stack))
    text = (tmp_path / "a.zarr/zarr.json").read_text()
    (tmp_path / "a.zarr/zarr.json").write_text(text.replace('"identity"', json.dumps(name)))
    assert "no method" in refusal(replay, tmp_path / "a.zarr", error=(ValueError, LookupError))
