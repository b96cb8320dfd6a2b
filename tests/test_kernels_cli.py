import numpy as np
import pytest
import tifffile
from PIL import Image
from typer.testing import CliRunner

from napari_deblur import cli, describing
from napari_deblur.kernel_figure import write_figure
from napari_deblur.kernels import load_kernel, save_kernel
from napari_deblur.opening import open_stack
from napari_deblur.outputs import kernel_targets
from napari_deblur.protocols import Facts, Kernel, KernelField
from napari_deblur.psfs.gaussian import Gaussian
from napari_deblur.results import load_field, save_field


def call(*arguments, status=0):
    done = CliRunner().invoke(cli.app, [str(a) for a in arguments])
    assert done.exit_code == status, done.output
    return " ".join(done.output.split())


@pytest.fixture
def kernel(tmp_path):
    save_kernel(Gaussian((0.4, 0.15, 0.15))((9, 17, 17), (0.2, 0.1, 0.1)), tmp_path / "k.tif")
    return tmp_path / "k.tif"


def test_the_kernel_command_says_what_it_measures(kernel):
    said = call("kernel", kernel, "--na", "0.8", "--wavelength", "0.52", "--n-immersion", "1.33")
    assert "kernel 9 × 17 × 17 voxels" in said
    # 2.355 σ, and a pixel's own width.
    assert "full width at half 0.9498 × 0.3598 × 0.3598 µm (z, y, x)" in said
    assert "of the optical limit 3.08" in said
    assert "power beyond the limit" in said


LENS = ("--na", "1.2", "--wavelength", "0.52", "--n-immersion", "1.33")


def test_optics_of_no_microscope_are_refused_and_half_of_them_said(kernel):
    said = call("kernel", kernel, "--na", "1.2", "--wavelength", "520", status=1)
    assert "give it in µm, such as 0.52 for 520 nm" in said
    assert "give both" in call("kernel", kernel, "--na", "0.8")
    assert "give both" not in call("kernel", kernel)
    named = ("--objective", "60x/1.40", "--fluorophore", "EGFP")
    assert "of the optical limit 5.52" in call("kernel", kernel, *named)  # 2 · 1.4 / 0.507


def test_the_optical_limit_is_that_of_the_kernels_own_report(tmp_path):
    file, across = tmp_path / "k.npz", 2 * 1.2 / 0.52
    size = ("--pixel-size", "0.3,0.1,0.1", "--shape", "9,31,31")
    said = call("kernel", file, "--psf", "gibson-lanni", *LENS, *size)
    assert f"of the optical limit {across:.3g}" in said
    again = call("kernel", file, "--figure", tmp_path / "k.png")
    assert f"of the optical limit {across:.3g}" in again
    assert "power beyond the limit" in again
    # What is given goes first, and the rest is still the report's.
    assert f"of the optical limit {across / 2:.3g}" in call("kernel", file, "--na", "0.6")
    # An aperture that the report's immersion can't have.
    said = call("kernel", file, "--na", "1.4")
    assert f"of the optical limit {2.8 / 0.52:.3g}" in said
    for psf, far in (("confocal", across + 2 * 1.2 / 0.488), ("two-photon", 2 * 2 * 1.2 / 0.92)):
        said = call("kernel", file, "--psf", psf, *LENS, *size, "--overwrite")
        # The wavelength that is given is the emission's: the same as in the report.
        assert f"of the optical limit {far:.3g}" in said
        assert f"of the optical limit {far:.3g}" in call("kernel", file)
    odd = Kernel(np.ones((5, 5)), (1, 0.1, 0.1), {"psf": "x", "na": 1.2, "wavelength": "green"})
    save_kernel(odd, tmp_path / "odd.npz")
    assert "limit is known from --na and --wavelength" in call("kernel", tmp_path / "odd.npz")


def test_a_sheet_of_light_carries_more_along_z_than_its_lens(tmp_path):
    size = ("--pixel-size", "0.15,0.08,0.08", "--shape", "41,41,41")
    said = call("kernel", tmp_path / "k.npz", "--psf", "light-sheet", *LENS, *size)
    # (n − √(n² − NA²)) / λ of the lens, and 3.035 / 2πσ of a Gaussian at 1 %.
    lens = (1.33 - (1.33**2 - 1.2**2) ** 0.5) / 0.52
    assert f"of the optical limit {lens + 3.035 / (2 * np.pi * 2 / 2.3548):.3g}" in said
    assert "power beyond the limit 0.0" in said


def test_estimate_says_its_own_default_method():
    said = call("estimate", "--help")
    assert "accelerated-richardson-lucy" not in said
    assert "finds kernels: see list. Default: blind" in said.replace(" │ │ ", " ")


def test_nothing_to_deblur_has_no_family():
    report = {"verdict": "nothing to deblur", "why": "no structure stands out from the noise",
              "family": "disc", "parameters": {"radius": 2.5}}  # fmt: skip
    said = dict(describing.of_report(Kernel(np.ones((1, 1)), None, report)))
    assert said == {"verdict": "nothing to deblur: no structure stands out from the noise"}
    said = dict(describing.of_search(Kernel(np.ones((1, 1)), None, report)))
    assert "family" not in said


@pytest.mark.parametrize("level", [0, 100])
def test_a_flat_image_has_nothing_to_deblur(tmp_path, level):
    tifffile.imwrite(tmp_path / "flat.tif", np.full((64, 64), level, np.uint16))
    said = call("estimate", tmp_path / "flat.tif", tmp_path / "k.npz")
    assert "nothing to deblur" in said
    assert "family" not in said
    assert "family" not in call("kernel", tmp_path / "k.npz")


def test_a_kernel_that_had_to_be_cleaned_says_so(tmp_path):
    array = np.random.default_rng(0).normal(0, 1, (9, 9))
    array[4, 4], array[0, 0] = 50, np.nan
    np.save(tmp_path / "k.npy", array)
    said = call("kernel", tmp_path / "k.npy")
    assert "the kernel was cleaned: 1 values that were NaN or infinite were set to 0" in said
    assert "were set to 0 note: the kernel was cleaned: negative values" in said


def test_the_kernel_of_a_model_is_written_and_measured(tmp_path):
    said = call("kernel", tmp_path / "k.tif", "--psf", "gibson-lanni", *LENS,
                "--pixel-size", "0.3,0.1,0.1", "--shape", "9,31,31")  # fmt: skip
    assert "wrote" in said
    assert "kernel 9 × 31 × 31 voxels" in said
    assert "psf gibson-lanni: na 1.2" in said
    again = load_kernel(tmp_path / "k.tif")
    assert again.report["psf"] == "gibson-lanni"
    assert again.pixel_size == pytest.approx((0.3, 0.1, 0.1))
    # A short stack of planes cuts light that goes on and on.
    said = call("kernel", tmp_path / "k.tif", *LENS)
    assert "of the optical limit 1.45; beyond it for the kernel is cut along z" in said
    again = ("kernel", tmp_path / "k.tif", "--psf", "gaussian", "--pixel-size", "0.1,0.1")
    assert "exists: choose another name, or use --overwrite" in call(*again, status=1)
    assert "voxels" in call(*again, "--psf-set", "sigma=0.2", "--overwrite")
    assert load_kernel(tmp_path / "k.tif").shape[0] == 1
    coarse = (*LENS, "--pixel-size", "1,1", "--overwrite")
    assert "too coarse" in call("kernel", tmp_path / "k.tif", "--psf", "gibson-lanni", *coarse)


def test_a_model_wants_a_voxel_size_and_a_shape_a_model(tmp_path, kernel):
    assert "voxels' size" in call("kernel", tmp_path / "k.tif", "--psf", "disc", status=2)
    assert "name the psf too" in call("kernel", kernel, "--shape", "5,5", status=2)


def test_a_field_is_looked_at_as_one_kernel_and_a_range(tmp_path):
    sizes = (2.0, 3.0, 4.0)
    basis = np.stack([Gaussian((0, s, s))((1, 31, 31), (1.0, 1.0, 1.0)).at() for s in sizes])
    lines = ((0.0,), (0.0,), (0.0, 50.0, 99.0))
    weights = np.eye(3)[:, None, None]
    maps = {"sigma": np.array(sizes)[None, None]}
    field = KernelField(basis, lines, weights, maps, (1.0, 0.5, 0.5), {"psf": "gaussian"})
    save_field(field, tmp_path / "f.npz")
    said = call("kernel", tmp_path / "f.npz", "--figure", tmp_path / "f.png")
    assert "kernels at 1 × 1 × 3 nodes" in said
    assert "full widths along x 2.379 to 4.722 µm, over the nodes" in said
    assert "sigma 2 to 4, over the nodes" in said
    assert "kernel 1 × 31 × 31 voxels" in said
    assert "one channel" in call("kernel", tmp_path / "f.npz", "--channel", "1", status=1)
    sharp, out = tmp_path / "s.tif", tmp_path / "sim"
    tifffile.imwrite(sharp, np.random.default_rng(0).random((64, 64)).astype("f4"))
    call("simulate", sharp, out, "--psf", "disc", "--psf-set", "radius=3", "--field", "tilt=0.5",
         "--pixel-size", "1,1")  # fmt: skip
    for name in ("field_c0.npz", "kernels.ome.zarr"):
        said = call("kernel", out / name, "--against", out / "field_c0.npz")
        assert "kernels at 1 × 1 × 9 nodes" in said
        assert "correlation 1.0000 as they lie" in said


def test_a_kernel_never_replaces_the_image_that_it_is_of(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.ones((16, 16), "u2"))
    before = (tmp_path / "a.tif").read_bytes()
    for said in (
        call("estimate", tmp_path / "a.tif", tmp_path / "a.tif", "--overwrite", status=1),
        call("simulate", tmp_path / "a.tif", tmp_path / "a.tif", "--psf", "disc", "--overwrite",
             status=1),
    ):  # fmt: skip
        assert "are one: choose another output" in said
    assert (tmp_path / "a.tif").read_bytes() == before


def test_figures_are_pngs(kernel, tmp_path):
    said = call("kernel", kernel, "--figure", tmp_path / "k.txt", status=1)
    assert 'a figure is drawn as .png, and "k.txt" is none' in said
    assert not (tmp_path / "k.txt").exists()


def test_widths_that_are_printed_are_those_at_half_of_the_peak():
    tails = Gaussian((0, 0.1, 0.1))((1, 61, 61), (1.0, 0.1, 0.1)).at() + 1e-4
    said = dict(describing.of_kernel(Kernel(tails, (1.0, 0.1, 0.1))))
    assert said["  full width at half"] == "0.2455 × 0.2455 µm (y, x)"
    flat = dict(describing.of_kernel(Kernel(np.ones((5, 5)))))
    wider = "wider than the kernel"
    assert flat["  full width at half"] == f"{wider} × {wider} px (y, x)"


def test_two_kernels_are_compared_at_one_voxel_size(kernel, tmp_path):
    other = Gaussian((0.4, 0.15, 0.15))((9, 33, 33), (0.2, 0.05, 0.05))
    save_kernel(other, tmp_path / "fine.zarr")
    said = call("kernel", kernel, "--against", tmp_path / "fine.zarr")
    assert "compared at the voxel size of the first" in said
    assert "correlation 0.99" in said or "correlation 1.00" in said
    assert "dB, the other being the truth" in said


def test_a_kernel_of_a_frame_and_channel_is_chosen(tmp_path):
    save_kernel(Kernel(np.random.default_rng(0).random((1, 2, 1, 5, 7))), tmp_path / "k.npz")
    assert "1 × 5 × 7 voxels" in call("kernel", tmp_path / "k.npz", "--channel", "1")
    said = call("kernel", tmp_path / "k.npz", "--channel", "2", status=1)
    assert "kernels of 2 channels, from 0: there is no channel 2" in said
    assert "no kernel at" in call("kernel", tmp_path / "none.tif", status=1)


def test_a_tiff_of_frames_or_channels_holds_so_many_kernels(tmp_path):
    array = np.zeros((3, 9, 9), np.float32)
    array[0, 4, 4] = array[1, 4, 4] = array[2, 4, 3:6] = 1
    for axes, option, what in (("TYX", "--time", "frame"), ("CYX", "--channel", "channel")):
        file = tmp_path / f"{axes}.tif"
        tifffile.imwrite(file, array, imagej=True, metadata={"axes": axes})
        said = call("kernel", file, option, "2")
        assert "kernel 1 × 9 × 9 voxels" in said
        assert "full width at half 1 × 3 px (y, x)" in said
        assert f"of the file {what} 2 of 3, from 0" in said
    file = tmp_path / "TYX.tif"
    assert "the kernel of one channel: there is no channel 1" in call(
        "kernel", file, "--channel", "1", status=1
    )


def test_a_kernel_of_one_voxel_is_a_single_point(tmp_path):
    point = Kernel(np.ones((1, 1)))
    said = dict(describing.of_kernel(point))
    assert said["  full width at half"] == "none: it is a single point"
    save_kernel(point, tmp_path / "p.npz")
    said = call("kernel", tmp_path / "p.npz")
    assert "full width at half none: it is a single point" in said
    assert "?" not in said
    # One that has room around its point is a pixel wide.
    wide = dict(describing.of_kernel(Kernel(np.eye(3)[1] * np.eye(3)[1][:, None])))
    assert wide["  full width at half"] == "1 × 1 px (y, x)"


def test_a_field_of_one_kernel_is_the_same_everywhere():
    said = dict(describing.of_nodes(Kernel(np.ones((3, 3))), (1, 1, 1), {}))
    assert said == {"field": "one kernel, the same everywhere"}


def test_options_are_blamed_by_the_name_that_was_typed(kernel):
    said = call("kernel", kernel, "--pixel-size", "0.1", status=2)
    assert "Invalid value for --pixel-size" in said
    assert "channel 3" in call("kernel", kernel, "--channel", "3", status=1)


def test_a_method_that_finds_nothing_is_refused_before_it_begins(tmp_path):
    tifffile.imwrite(tmp_path / "i.tif", np.ones((9, 9), np.float32))
    said = call("estimate", tmp_path / "i.tif", tmp_path / "k.tif", "--method", "wiener", status=1)
    assert said == "error: wiener restores with a kernel but finds none: take blind"
    said = call("estimate", tmp_path / "i.tif", tmp_path / "k.tif", "--scope", "tile", status=1)
    assert "is not one of channel, channel-time, field; in scope tile each" in said
    assert "psf" not in call("estimate", "--help").partition("--shape")[2].partition("╰")[0]


@pytest.fixture
def movie(tmp_path):
    tifffile.imwrite(tmp_path / "movie.tif", np.ones((2, 32, 32), np.float32),
                     metadata={"axes": "TYX"})  # fmt: skip
    return tmp_path / "movie.tif"


def test_each_frame_has_its_kernel_and_a_file_holds_them_all(movie, tmp_path, monkeypatch):
    frames = [{"verdict": "believe", "why": "it fits", "family": "gaussian",
               "parameters": {"sigma": s}} for s in (1.2, 2.0)]  # fmt: skip
    both = [Gaussian((1, s, s))((1, 13, 13), (1, 1, 1)).at()[None] for s in (1.2, 2.0)]
    found = Kernel(np.stack(both), None, {**frames[0], "frames": frames})
    asked = {}
    monkeypatch.setattr("napari_deblur.estimating.estimate_kernel",
                        lambda *_, **given: asked.update(given) or found)  # fmt: skip
    said = call("estimate", movie, tmp_path / "k.npz", "--scope", "channel-time")
    assert asked["scope"] == "channel-time"
    assert "finding the kernels of 2 frames with blind" in said
    assert "believed in frames 0 to 1: it fits" in said
    for name in ("k.npz", "k.zarr"):
        if name == "k.zarr":
            call("estimate", movie, tmp_path / name, "--scope", "channel-time")
        again = load_kernel(tmp_path / name, several=True)
        np.testing.assert_allclose(again.array, found.array, atol=1e-7)
        said = call("kernel", tmp_path / name, "--time", "1")
        assert "of the file frame 1 of 2, from 0" in said
        assert "gaussian: sigma 2 " in said
    said = call("estimate", movie, tmp_path / "k.tif", "--scope", "channel-time", status=1)
    assert "save them as .npz or .zarr" in said


def test_a_search_starts_from_a_kernel_that_is_given(movie, tmp_path, monkeypatch):
    seen = {}

    def found(stack, estimator, shape=None, **asked):
        seen.update(asked)
        return asked["first"]

    monkeypatch.setattr("napari_deblur.estimating.estimate_kernel", found)
    save_kernel(Gaussian((1, 3, 3))((1, 9, 9), (1, 1, 1)), tmp_path / "first.tif")
    said = call("estimate", movie, tmp_path / "k.tif", "--kernel", tmp_path / "first.tif")
    # A kernel is given, and still it is the method that finds one.
    assert "finding the kernel with blind" in said
    assert seen["first"].shape == (1, 9, 9)
    assert seen["scope"] == "channel"
    said = call("estimate", movie, tmp_path / "b.tif", "--from", "beads", "--scope", "field",
                status=2)  # fmt: skip
    assert "beads are averaged" in said


def test_kernels_that_vary_are_written_without_a_restoration(movie, tmp_path, monkeypatch):
    basis = np.stack([Gaussian((1, s, s))((1, 9, 9), (1, 1, 1)).at() for s in (1.0, 2.0)])
    field = KernelField(basis, ((0.0,), (0.0,), (0.0, 95.0)), np.eye(2)[:, None, None])
    monkeypatch.setattr("napari_deblur.estimating.estimate_field", lambda *a, **k: {0: field})
    said = call("estimate", movie, tmp_path / "f.npz", "--scope", "field")
    assert "kernels: they vary" in said
    assert load_field(tmp_path / "f.npz").grid == (1, 1, 2)
    assert "kernels at 1 × 1 × 2 nodes" in call("kernel", tmp_path / "f.npz")
    said = call("estimate", movie, tmp_path / "f.tif", "--scope", "field", status=1)
    assert "kernels that vary are saved as .npz" in said
    varying = ("--scope", "field", "--method", "blind-richardson-lucy")
    assert "blind" in call("estimate", movie, tmp_path / "g.npz", *varying, status=1)


def test_the_figure_is_a_picture(kernel, tmp_path):
    call("kernel", kernel, "--figure", tmp_path / "k.png", "--na", "0.8", "--wavelength", "0.52")
    with Image.open(tmp_path / "k.png") as picture:
        assert picture.width > 1000
        assert np.asarray(picture).std() > 10


@pytest.mark.parametrize("shape", [(1, 5, 5), (1, 1, 9), (3, 1, 1), (2, 4, 3)])
def test_kernels_of_odd_kinds_have_a_figure_too(shape, tmp_path):
    for array in (np.ones(shape), np.eye(max(shape))[:1, None] * np.ones((1, 1, 1))):
        optics = Facts(na=1.2, wavelength=0.5, n_immersion=1.33)
        write_figure(Kernel(array, (0.3, 0.1, 0.1)), tmp_path / "k.png", optics)
        write_figure(Kernel(array), tmp_path / "k.png")


def test_kernels_go_to_a_file_each_or_to_one_store(tmp_path):
    one, two = (open_stack(np.ones((c, 8, 8)), "cyx") for c in (1, 2))
    names = [path.name for path in kernel_targets(tmp_path / "k.tif", two, overwrite=False)]
    assert names == ["k_c0.tif", "k_c1.tif"]
    for stack, name in ((one, "k.tif"), (one, "k.zarr"), (two, "k.zarr")):
        assert kernel_targets(tmp_path / name, stack, overwrite=False) == [tmp_path / name]
    with pytest.raises(ValueError, match=r"as .tif, .npz or .zarr, and \"k.png\" is none"):
        kernel_targets(tmp_path / "k.png", one, overwrite=False)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        kernel_targets(tmp_path / "no" / "k.zarr", one, overwrite=False)
    (tmp_path / "k.zarr").mkdir()
    with pytest.raises(FileExistsError, match=r"k\.zarr exists: choose another name"):
        kernel_targets(tmp_path / "k.zarr", one, overwrite=False)
    assert kernel_targets(tmp_path / "k.zarr", one, overwrite=True) == [tmp_path / "k.zarr"]
