import io
import tracemalloc
import zipfile
from contextlib import suppress

import numpy as np
import pytest
import tifffile
import zarr
from yaozarrs import validate_zarr_store

from napari_deblur.kernel_files import is_mosaic, load_mosaic
from napari_deblur.kernels import cropped, load_kernel, save_kernel
from napari_deblur.opening import open_stack
from napari_deblur.protocols import Kernel
from napari_deblur.psfs.gaussian import Gaussian
from napari_deblur.results import load_field

SIZE = (0.4, 0.1, 0.12)


def model(shape=(5, 9, 11), size=SIZE):
    return Gaussian((0.5, 0.15, 0.2))(shape, size)


def test_an_ome_zarr_holds_a_kernel_with_its_voxel_size(tmp_path):
    save_kernel(model(), tmp_path / "k.zarr")
    again = load_kernel(tmp_path / "k.zarr")
    np.testing.assert_array_equal(again.array, model().array)
    assert again.pixel_size == SIZE
    validate_zarr_store(str(tmp_path / "k.zarr"))
    assert (
        zarr.open_group(tmp_path / "k.zarr").attrs["napari_deblur"]["report"]["psf"] == "gaussian"
    )


def test_an_ome_zarr_of_a_kernel_opens_as_an_image(tmp_path):
    save_kernel(model(), tmp_path / "k.zarr")
    stack = open_stack(tmp_path / "k.zarr")
    assert stack.shape == (1, 1, 5, 9, 11)
    assert stack.pixel_size == SIZE


@pytest.mark.parametrize("suffix", [".zarr", ".npz"])
def test_kernels_of_several_frames_and_channels_come_back_equal(tmp_path, suffix):
    array = np.random.default_rng(0).random((2, 3, 5, 7, 9))
    many = Kernel(array, SIZE)
    save_kernel(many, tmp_path / f"k{suffix}")
    again = load_kernel(tmp_path / f"k{suffix}", several=True)
    np.testing.assert_allclose(again.array, many.array, atol=1e-8)
    with pytest.raises(ValueError, match="holds 6 kernels: give a file with one"):
        load_kernel(tmp_path / f"k{suffix}")


def test_without_a_voxel_size_pixels_have_no_unit(tmp_path):
    save_kernel(Kernel(np.ones((3, 5))), tmp_path / "k.zarr")
    again = load_kernel(tmp_path / "k.zarr")
    assert again.pixel_size is None
    assert again.shape == (1, 3, 5)


REPORT = {
    "psf": "disc",
    "method": "blind",
    "family": "disc",
    "parameters": {"radius": 1.25},
    "verdict": "doubtful",
    "why": "it reaches the border, of 3 µm",
    "samples": [[[0, 1], [0, 64], [8, 72]]],
    "uncertainty": [float("inf"), 0.5],
}


@pytest.mark.parametrize("suffix", [".tif", ".npz", ".zarr"])
def test_what_is_known_of_a_kernel_comes_back_with_it(tmp_path, suffix):
    array = model().at()
    old = Kernel(array, SIZE, {**REPORT, "file": "old", "cleaned": ["x"]})
    save_kernel(old, tmp_path / f"k{suffix}")
    again = load_kernel(tmp_path / f"k{suffix}")
    assert dict(again.report) == {**REPORT, "uncertainty": [None, 0.5], "file": f"k{suffix}"}
    np.testing.assert_allclose(again.array, model().array, rtol=1e-6)
    assert again.pixel_size == pytest.approx(SIZE)


@pytest.mark.parametrize("suffix", [".tif", ".npz", ".zarr"])
def test_a_report_too_long_for_a_file_loses_what_is_longest(tmp_path, suffix):
    long = {**REPORT, "places": [[0.123] * 3] * 20_000, "odd": object()}
    save_kernel(Kernel(model().at(), SIZE, long), tmp_path / f"k{suffix}")
    again = load_kernel(tmp_path / f"k{suffix}")
    assert "places" not in again.report
    assert "odd" not in again.report
    assert again.report["why"] == REPORT["why"]


@pytest.mark.parametrize(
    "text",
    ["no json", "[1, 2]", "{" * 50_000, "[" * 60_000, '{"verdict": 3}', '{"verdict": "believe"}',
     '{"samples": [3], "channels": 5, "judged": {"verdict": 1}, "parameters": [], "why": "so"}',
     '{"verdict": "believe", "why": "", "family": "disc", "parameters": {"radius": "x"}}',
     '{"x": "' + "a" * 70_000 + '"}'],
)  # fmt: skip
def test_a_report_that_somebody_made_up_does_no_harm(text, tmp_path):
    np.savez(tmp_path / "k.npz", kernel=model().at(), report=np.array(text))
    report = load_kernel(tmp_path / "k.npz").report
    assert not {"verdict", "samples", "channels", "judged"} & report.keys()
    assert report["file"] == "k.npz"


def test_a_doubtful_kernel_from_a_file_is_doubted_in_the_plan(tmp_path):
    from napari_deblur.kernel_sets import believed, fitted

    save_kernel(Kernel(model().at(), SIZE, REPORT), tmp_path / "k.tif")
    stack = open_stack(np.ones((5, 20, 20), "f4"), "zyx", pixel_size=SIZE)
    notes = believed(fitted(stack, load_kernel(tmp_path / "k.tif"), []))
    assert "doubtful: it reaches the border, of 3 µm" in notes[0]


def test_kernels_side_by_side_are_read_one_by_one(tmp_path):
    every = np.random.default_rng(0).random((2, 3, 1, 5, 7)).astype("f4")
    mosaic = every[:, :, 0].transpose(0, 2, 1, 3).reshape(10, 21)
    save_kernel(Kernel(mosaic, SIZE), tmp_path / "k.zarr")
    assert not is_mosaic(tmp_path / "k.zarr")
    with pytest.raises(ValueError, match="holds no kernels side by side"):
        load_mosaic(tmp_path / "k.zarr")
    group = zarr.open_group(tmp_path / "k.zarr")
    group.attrs["napari_deblur"] = {"shape": [1, 5, 7], "report": {"psf": "disc"}}
    assert is_mosaic(tmp_path / "k.zarr")
    kernels, grid = load_mosaic(tmp_path / "k.zarr")
    assert grid == (1, 2, 3)
    assert kernels.array.shape == (6, 1, 1, 5, 7)
    assert kernels.report["psf"] == "disc"
    want = every[1, 2, 0] / every[1, 2].sum()
    np.testing.assert_allclose(kernels.at(5)[0], want, rtol=1e-5)


@pytest.mark.parametrize("axes", ["TYX", "CYX", "TZCYX"])
def test_frames_and_channels_of_a_tiff_are_no_planes(tmp_path, axes):
    shape = (2, 3, 4, 5, 7)[-len(axes) :] if len(axes) == 5 else (3, 5, 7)
    array = np.random.default_rng(0).random(shape).astype(np.float32)
    tifffile.imwrite(tmp_path / "k.tif", array, imagej=True, metadata={"axes": axes})
    with pytest.raises(ValueError, match=r"holds \d (frames|channels), for its axes are"):
        load_kernel(tmp_path / "k.tif")
    many = load_kernel(tmp_path / "k.tif", several=True).array
    here = {"TYX": array[:, None, None], "CYX": array[None, :, None]}.get(axes)
    here = array.transpose(0, 2, 1, 3, 4) if here is None else here
    np.testing.assert_allclose(many, here / here.sum(axis=(2, 3, 4), keepdims=True), rtol=1e-5)


@pytest.mark.parametrize("axes", ["ZYX", "QYX"])
def test_planes_of_a_tiff_are_those_of_one_kernel(tmp_path, axes):
    tifffile.imwrite(tmp_path / "k.tif", model().at(), metadata={"axes": axes})
    assert load_kernel(tmp_path / "k.tif", several=True).shape == (5, 9, 11)


def test_only_kernels_are_written_over(tmp_path):
    save_kernel(model(), tmp_path / "k.zarr")
    save_kernel(model((3, 5, 5)), tmp_path / "k.zarr")
    assert load_kernel(tmp_path / "k.zarr").shape == (3, 5, 5)
    (tmp_path / "other.zarr").mkdir()
    (tmp_path / "other.zarr" / "precious").write_text("data")
    with pytest.raises(FileExistsError, match="holds more than a kernel"):
        save_kernel(model(), tmp_path / "other.zarr")
    assert (tmp_path / "other.zarr" / "precious").exists()


def test_a_mosaic_of_kernels_is_not_taken_for_one(tmp_path):
    save_kernel(Kernel(np.ones((6, 10)), SIZE), tmp_path / "k.zarr")
    group = zarr.open_group(tmp_path / "k.zarr")
    group.attrs["napari_deblur"] = {"shape": [1, 3, 5], "report": {}}
    with pytest.raises(ValueError, match="one for each tile"):
        load_kernel(tmp_path / "k.zarr")


@pytest.mark.parametrize("shape", [(1, 3, 5), (3, 5, 4), (9, 9, 99)])
def test_cropping_keeps_the_middle_at_half_the_length(shape):
    array = np.zeros((6, 9, 11))
    array[3, 4, 5] = 1
    small = cropped(Kernel(array), shape=shape)
    assert small.shape == tuple(min(n, m) for n, m in zip(shape, (6, 9, 11), strict=True))
    assert small.at()[tuple(n // 2 for n in small.shape)] == 1


def test_cropping_to_a_share_of_the_light_keeps_that_and_says_what_is_gone():
    whole = Gaussian((0.4, 0.2, 0.1))((41, 61, 61), (0.2, 0.1, 0.1))
    small = cropped(whole, energy=0.999)
    left_out = small.report["left_out"]
    assert 0 < left_out <= 0.001
    kept = tuple(slice(n // 2 - m // 2, n // 2 + m // 2 + 1)
                 for n, m in zip(whole.shape, small.shape, strict=True))  # fmt: skip
    assert whole.at()[kept].sum() == pytest.approx(1 - left_out, abs=1e-5)
    assert all(n % 2 for n in small.shape)
    # As wide along each axis as the Gaussian is.
    assert small.shape[1] > small.shape[2]
    assert small.array.sum() == pytest.approx(1)


def test_cropping_wants_one_of_both():
    with pytest.raises(ValueError, match=r"give a shape .* or the share"):
        cropped(model())
    with pytest.raises(ValueError, match="energy is 2"):
        cropped(model(), energy=2)
    with pytest.raises(ValueError, match=r"shape is \(z, y, x\)"):
        cropped(model(), shape=(0, 3, 3))


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"kernel": np.array([[1, None], ["a", 2]], object)}, "holds no kernel that can be read"),
        ({"kernel": np.array([["a", "b"]])}, "a kernel is of real numbers"),
        ({"kernel": np.ones((3, 3), complex)}, "a kernel is of real numbers"),
        ({"kernel": np.ones((3, 3)), "pixel_size": np.ones(2)}, "states the voxel size"),
        ({"kernel": np.ones((3, 3)), "pixel_size": np.array(["a"] * 3)}, "states the voxel size"),
        ({"kernel": np.ones((3, 3)), "pixel_size": np.zeros(3)}, "states the voxel size"),
        ({"kernel": np.ones((3, 3)), "pixel_size": np.array([None])}, "holds no kernel that can"),
        ({}, "holds no array"),
        ({"a": np.ones((3, 3)), "b": np.ones((3, 3))}, 'name the kernel\'s array "kernel"'),
    ],
)
def test_arrays_that_are_no_kernel_are_refused_in_a_sentence(tmp_path, arrays, said):
    np.savez(tmp_path / "k.npz", **arrays)
    with pytest.raises(ValueError, match=said) as raised:
        load_kernel(tmp_path / "k.npz")
    assert "pickle" not in str(raised.value)


def test_an_array_of_text_is_no_kernel(tmp_path):
    np.save(tmp_path / "k.npy", np.array([["a", "b"]]))
    with pytest.raises(ValueError, match="a kernel is of real numbers"):
        load_kernel(tmp_path / "k.npy")


# Files that are damaged, or of strangers -------------------------------------------------------


def solid():
    return np.random.default_rng(8).random((9, 7, 7)).astype("f4")


@pytest.mark.parametrize(
    "how",
    [
        {"imagej": True, "metadata": {"axes": "ZYX"}},
        {"metadata": {"axes": "ZYX"}},
        {"metadata": None},
        {"ome": True, "metadata": {"axes": "ZYX"}},
        {"metadata": None, "compression": "zlib"},
    ],
)
def test_a_kernel_that_was_cut_short_has_not_fewer_planes(tmp_path, how, caplog):
    caplog.set_level("CRITICAL")
    path = tmp_path / "k.tif"
    tifffile.imwrite(path, solid(), photometric="minisblack", **how)
    assert load_kernel(path).shape == (9, 7, 7)
    raw = path.read_bytes()
    for tenth in range(10):
        path.write_bytes(raw[: len(raw) * tenth // 10])
        with pytest.raises(ValueError, match=r"k\.tif") as caught:
            load_kernel(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".tif", ".npz", ".npy"])
def test_changed_bytes_of_a_kernel_are_an_error_in_words_or_nothing(tmp_path, suffix, caplog):
    caplog.set_level("CRITICAL")
    path = tmp_path / f"k{suffix}"
    if suffix == ".tif":
        tifffile.imwrite(path, solid(), photometric="minisblack", compression="zlib")
    elif suffix == ".npy":
        np.save(path, solid())
    else:
        np.savez_compressed(path, kernel=solid(), pixel_size=np.ones(3))
    raw = path.read_bytes()
    for place in range(0, len(raw), 23):
        changed = bytearray(raw)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        for read in (load_kernel, load_field) if suffix != ".tif" else (load_kernel,):
            with suppress(ValueError):
                read(path)


def test_a_file_that_unpacks_to_gigabytes_is_not_unpacked(tmp_path):
    path = tmp_path / "k.npz"
    head = io.BytesIO()
    shape = {"descr": "<f4", "fortran_order": False, "shape": (1, 2**15, 2**13)}
    np.lib.format.write_array_header_1_0(head, shape)
    file = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
    with file, file.open("kernel.npy", "w") as member:
        member.write(head.getvalue())
        for _ in range(64):
            member.write(bytes(2**24))
    tracemalloc.start()
    try:
        for read in (load_kernel, load_field):
            with pytest.raises(ValueError, match=r"k\.npz holds no"):
                read(path)
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_an_array_that_declares_terabytes_is_refused(tmp_path):
    np.save(tmp_path / "k.npy", np.zeros((3, 3)))
    raw = (tmp_path / "k.npy").read_bytes()
    (tmp_path / "k.npy").write_bytes(raw.replace(b"(3, 3), ", b"(9999999, 999999), ")[: len(raw)])
    with pytest.raises(ValueError, match="holds no kernel that can be read"):
        load_kernel(tmp_path / "k.npy")


def test_an_image_in_place_of_a_kernel_is_not_read(tmp_path):
    names = {"dimension_names": ["z", "y", "x"]}
    zarr.create_array(
        tmp_path / "a.zarr", shape=(900, 9000, 9000), chunks=(1, 900, 900), dtype="u2", **names
    )
    with pytest.raises(ValueError, match=r"146 GB of shape .* is an image rather than a kernel"):
        load_kernel(tmp_path / "a.zarr")


@pytest.mark.parametrize(
    "changed",
    [
        {"pixel_size": np.ones(2)},
        {"pixel_size": np.array(1.0)},
        {"nodes_z": np.array("a")},
        {"nodes_z": np.array([1 + 1j])},
        {"nodes_z": np.zeros((1, 2))},
        {"basis": np.array("a")},
        {"weights": np.zeros(0)},
    ],
)
def test_a_field_that_somebody_made_up_is_refused_in_a_sentence(tmp_path, changed):
    known = {"basis": np.full((1, 1, 3, 3), 1 / 9), "weights": np.ones((1, 1, 1, 1))}
    known |= {f"nodes_{axis}": np.zeros(1) for axis in "zyx"}
    np.savez(tmp_path / "f.npz", **known)
    assert load_field(tmp_path / "f.npz").rank == 1
    np.savez(tmp_path / "f.npz", **known | changed)
    with pytest.raises(ValueError, match=r"field|node") as caught:
        load_field(tmp_path / "f.npz")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["x{", "[" * 100_000, "[1]", "3"])
def test_the_report_of_a_field_that_is_none_is_left_out(tmp_path, text):
    known = {"basis": np.full((1, 1, 3, 3), 1 / 9), "weights": np.ones((1, 1, 1, 1))}
    known |= {f"nodes_{axis}": np.zeros(1) for axis in "zyx"}
    np.savez(tmp_path / "f.npz", **known, report=np.array(text))
    assert load_field(tmp_path / "f.npz").report == {}
