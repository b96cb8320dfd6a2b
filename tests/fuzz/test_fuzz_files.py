"""Damaged files: what was written comes back, or one sentence says that it can't."""

import shutil
from functools import cache

import numpy as np
import pytest
import tifffile
import zarr
from fuzzing import fuzzed
from hypothesis import event, given
from hypothesis import strategies as st
from typer.testing import CliRunner
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, ZstdCodec

import napari_deblur as nd
from napari_deblur.cli import app
from napari_deblur.kernels import save_kernel
from napari_deblur.protocols import Kernel
from napari_deblur.psfs.gaussian import Gaussian
from napari_deblur.readers import _zarr_samples
from napari_deblur.results import open_result

IMAGE = np.random.default_rng(4).poisson(50, (5, 24, 30)).astype("u2")
GAUSSIAN = Gaussian((0.0, 1.0, 0.8))((1, 5, 5), (1.0, 1.0, 1.0)).at()
ZARRS = {
    "zarr": {},
    "zarr-plain": {"compressors": None},
    "zarr-blosc": {"compressors": BloscCodec()},
    "zarr-gzip": {"compressors": GzipCodec()},
    "zarr-sum": {"compressors": ZstdCodec(checksum=True)},
    "zarr-crc": {"compressors": [Crc32cCodec()]},
    "zarr-shards": {"shards": (6, 24, 30), "compressors": ZstdCodec(checksum=True)},
    "zarr-2": {"zarr_format": 2},
}
TIFFS = {
    "tiff": {},
    "tiff-zlib": {"compression": "zlib"},
    "tiff-tiles": {"compression": "zlib", "tile": (16, 16)},
    "tiff-zstd": {"compression": "zstd"},
    "tiff-lzw": {"compression": "lzw", "predictor": True},
    "tiff-ome": {"ome": True, "compression": "zlib"},
    "tiff-imagej": {"imagej": True},
}
# In these each byte of an image counts in a checksum; in the others a bit may flip unseen.
SUMMED = {"zarr-gzip", "zarr-sum", "zarr-crc", "zarr-shards"}
SUMMED |= {"tiff-zlib", "tiff-tiles", "tiff-ome"}


@cache
def originals(folder):
    """Write the image in all kinds of files, once."""
    for name, how in ZARRS.items():
        zarr.create_array(folder / name, data=IMAGE, chunks=(2, 12, 15), **how)
    for name, how in TIFFS.items():
        tifffile.imwrite(folder / name, IMAGE, metadata={"axes": "ZYX"}, **how)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return originals(tmp_path_factory.mktemp("originals"))


@st.composite
def damages(draw):
    """Which kind of file, what is done to which part of it, and where."""
    name = draw(st.sampled_from([*ZARRS, *TIFFS]))
    gone = ["gone"] if name in ZARRS else []
    how = draw(st.sampled_from(["none", "flip", "flip", "cut", "zeros", "empty", *gone]))
    return name, how, draw(st.integers(0, 2**30)), draw(st.integers(0, 2**30))


def damaged(folder, name, how, which, where):
    """Do it to a copy; tell whether a checksum could know."""
    copy = folder / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    copy.unlink(missing_ok=True)
    original = folder / name
    (shutil.copytree if original.is_dir() else shutil.copy)(original, copy)
    files = sorted(p for p in copy.rglob("*") if p.is_file()) if copy.is_dir() else [copy]
    chunks = [p for p in files if not p.name.startswith((".z", "zarr"))]
    file = chunks[which % len(chunks)]
    raw = bytearray(file.read_bytes())
    place = where % len(raw)
    if how == "flip":
        raw[place] ^= 1 << which % 8
    elif how == "cut":
        # A TIFF's last 16 bytes belong to no page.
        del raw[min(place, len(raw) - (17 if name in TIFFS else 1)) :]
    elif how == "zeros":
        raw[place : place + 200] = bytes(len(raw[place : place + 200]))
    elif how == "empty":
        raw.clear()
    file.write_bytes(raw)
    if how == "gone":
        file.unlink()
    return copy


@fuzzed(20, 0.42)
@given(damage=damages())
def test_a_damaged_file_gives_its_image_or_a_sentence(damage, folder, caplog):
    caplog.set_level("CRITICAL")
    name, how, *_ = damage
    copy = damaged(folder, *damage)
    unseen = how in ("flip", "zeros") and name not in SUMMED
    try:
        found = nd.open_stack(copy, "zyx").read(0, 0)
    except (ValueError, OSError) as error:
        said = str(error)
        assert how != "none", said
        assert str(copy) in said or "axes" in said
        assert "\n" not in said
        assert len(said) < 600
        event(f"{name} {how}: refused")
        return
    same = found.shape == IMAGE.shape and np.array_equal(found, IMAGE)
    event(f"{name} {how}: {'same' if same else 'other pixels, nothing could know'}")
    assert same or unseen


@fuzzed(8, 0.08)
@given(damage=damages(), planned=st.booleans())
def test_the_command_line_says_it_in_a_sentence(damage, planned, folder, tmp_path_factory, caplog):
    caplog.set_level("CRITICAL")
    status = ended(damage, folder, tmp_path_factory.mktemp("cli"), planned=planned)
    event(f"{damage[1]}: {status}")


@pytest.mark.parametrize(
    ("how", "planned", "status"),
    [("none", False, "restored"), ("flip", False, "refused"), ("flip", True, "listed")],
)
def test_a_command_ends_in_one_of_three_ways(how, planned, status, folder, tmp_path, monkeypatch):
    # Of so few chunks all are looked at, and the change is noticed: here of one, as of thousands.
    monkeypatch.setattr(_zarr_samples, "CHUNKS", 1)
    assert ended(("zarr-sum", how, 3, 40), folder, tmp_path, planned=planned) == status


def ended(damage, folder, here, *, planned):
    """Run the command; what came of it, which is as it should be.

    The file is damaged before its plan is made, or, where it was `planned`, between plan and run.
    """
    name, how, *place = damage
    save_kernel(Kernel(GAUSSIAN), here / "k.tif")
    out = here / "a.deblur.zarr"
    asked = ["run", str(folder / "copy"), str(out), "--axes", "zyx", "--tile", "2,12,15"]
    asked += ["--method", "wiener", "--kernel", str(here / "k.tif"), "--accept-seam"]
    if planned:
        damaged(folder, name, "none", *place)
        done = CliRunner().invoke(app, asked)
        assert done.exit_code == 0, done.output
        asked, out = ["run", "--replay", str(out)], here / "b.deblur.zarr"
        asked.append(str(out))
    damaged(folder, name, how, *place)
    status = said_by(CliRunner().invoke(app, asked))
    if status == "refused":
        assert how != "none"
        assert not out.exists() or not open_result(out).complete
        return status
    result = open_result(out)
    assert result.complete == (status == "restored")
    assert bool(result.failed) == (status == "listed")
    found, lost = result.levels[0][:], np.zeros(IMAGE.shape, bool)
    for index in result.failed:
        lost[tuple(slice(*span) for span in result.plan.tile(index).core)] = True
    np.testing.assert_array_equal(np.isnan(found), lost)
    assert not lost.all() or name == "zarr-shards"  # which is one file
    if name in SUMMED or how not in ("flip", "zeros"):  # else nothing can know
        np.testing.assert_allclose(found[~lost], restored()[~lost], rtol=2e-3, atol=0.5)
    return status


def said_by(done):
    """What an exit status means, and that the words go with it."""
    assert "Traceback" not in done.output
    errors = [line for line in done.output.splitlines() if line.startswith("error: ")]
    if done.exit_code in (1, 2):
        (line,) = errors
        assert len(line) < 700
        return "refused"
    assert not errors
    meaning = {0: "restored", 3: "listed"}[done.exit_code]
    assert (meaning == "listed") == ("incomplete in " in done.output)
    return meaning


@cache
def restored():
    """What the command makes of the image that nobody damaged."""
    return np.asarray(nd.deconvolve(nd.open_stack(IMAGE, "zyx"), "wiener", GAUSSIAN))
