"""Simulations: known truth, known noise, known kernels, in arrays and from the command line."""

import json

import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy.ndimage import convolve, gaussian_filter
from typer.testing import CliRunner

import napari_deblur as nd
from napari_deblur import cli
from napari_deblur.kernels import load_kernel
from napari_deblur.protocols import Facts, Kernel, KernelField
from napari_deblur.psfs.disc import Disc
from napari_deblur.psfs.gaussian import Gaussian
from napari_deblur.psfs.motion import Motion
from napari_deblur.psfs.turbulence import Turbulence
from napari_deblur.restoring import linear_light
from napari_deblur.results import load_field
from napari_deblur.simulating import simulate
from napari_deblur.stack import Optics
from napari_deblur.varying import Variation

SIZE = (0.3, 0.1, 0.1)


@pytest.fixture
def sharp():
    spots = np.random.default_rng(0).random((60, 72)) > 0.97
    return gaussian_filter(spots * 500.0, 0.7).astype(np.float32) + 2


@pytest.fixture
def volume():
    spots = np.random.default_rng(0).random((8, 40, 44)) > 0.99
    return gaussian_filter(spots * 500.0, 0.7).astype(np.float32)


def called(*arguments, status=0):
    done = CliRunner().invoke(cli.app, [str(a) for a in arguments])
    assert done.exit_code == status, done.output
    return " ".join(done.output.split())


# In Python ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("border", ["mirror", "dark"])
@pytest.mark.parametrize("shape", [(1, 7, 9), (1, 8, 6)])
def test_without_noise_the_image_is_the_truth_blurred(sharp, border, shape):
    array = np.random.default_rng(1).random(shape[1:])
    kernel = Kernel(array)
    made = simulate(sharp, kernel, photons=0, border=border)
    mode = {"mirror": "reflect", "dark": "constant"}[border]  # scipy's word for both edges twice
    weights = np.pad(kernel.at()[0], [(0, 1 - n % 2) for n in shape[1:]])
    wanted = convolve(sharp.astype(np.float64), weights.astype(np.float64), mode=mode)
    assert made.image == pytest.approx(wanted, abs=1e-3)
    assert (made.truth == sharp).all()
    assert made.image.dtype == made.truth.dtype == np.float32
    assert made.facts.gain is None


def test_a_cropped_image_has_seen_nothing_but_the_object(sharp):
    made = simulate(sharp, Disc(3.0), photons=0, border="crop")
    assert made.image.shape == made.truth.shape == (54, 66)
    assert (made.truth == sharp[3:-3, 3:-3]).all()
    other = simulate(sharp, Disc(3.0), photons=0, border="mirror").image[3:-3, 3:-3]
    assert made.image == pytest.approx(other, abs=1e-3)


@pytest.mark.parametrize(
    "psf",
    [
        Disc(2.0),
        Motion(7.0, 30.0),
        Motion(9.0, path="hand-shake", seed=2),
        Turbulence(3.0),
        Turbulence(3.0, "short", 1.5),
        ("gaussian", {"sigma": (0.0, 1.5, 1.5)}),
        np.ones((3, 3)),
    ],
)
def test_every_blur_keeps_the_light_and_the_same_seed_gives_the_same_bytes(sharp, psf):
    settings = {"read_noise": 2.0, "offset": 100.0, "gain": 2.0, "background": 3.0}
    one, two = (simulate(sharp, psf, seed=5, **settings) for _ in range(2))
    assert one.image.tobytes() == two.image.tobytes()
    assert one.truth.tobytes() == two.truth.tobytes()
    other = simulate(sharp, psf, seed=6, **settings)
    assert (other.image != one.image).any()
    assert (other.truth == one.truth).all()
    assert one.image.mean() == pytest.approx(one.truth.mean(), rel=0.02)
    json.dumps(one.report)


def test_photons_gain_noise_and_background_are_those_asked_for():
    flat = np.full((200, 200), 7.0)
    asked = {"gain": 2.5, "offset": 100.0, "read_noise": 4.0, "background": 20.0}
    made = simulate(flat, Disc(1.0), photons=80, **asked)
    assert made.truth == pytest.approx(100 + 2.5 * 100)
    assert made.image.mean() == pytest.approx(350, rel=2e-3)
    assert made.image.var() == pytest.approx(2.5**2 * 100 + 16, rel=0.03)
    facts = made.facts
    assert (facts.gain, facts.offset, facts.read_noise) == (2.5, 100.0, 4.0)
    assert (facts.background, facts.white) == (150.0, pytest.approx(350.0))


def test_the_brightest_pixels_get_the_photons(sharp):
    made = simulate(sharp, Gaussian((0, 1.0, 1.0)), photons=300)
    clean = simulate(sharp, Gaussian((0, 1.0, 1.0)), photons=0)
    scale = 300 / np.percentile(clean.image, 99.9)
    assert made.truth == pytest.approx(clean.truth * scale, rel=1e-5)
    error = made.image - clean.image * scale
    assert (error**2).mean() == pytest.approx((clean.image * scale).mean(), rel=0.1)


def test_a_restored_simulation_comes_nearer_to_its_truth(sharp):
    made = simulate(sharp, Disc(2.0), photons=2000, offset=20.0)
    method = nd.methods["richardson-lucy"](iterations=20)
    stack = nd.open_stack(made.image, "yx")
    restored = np.asarray(nd.deconvolve(stack, method, made.kernel, facts=made.facts))
    before, after = (((image - made.truth) ** 2).mean() for image in (made.image, restored))
    assert after < 0.5 * before


def test_a_kernel_of_another_voxel_size_is_resampled(sharp):
    kernel = Disc(0.5)("auto", (1.0, 0.1, 0.1))
    assert simulate(sharp, kernel, pixel_size=(1.0, 0.2, 0.2)).kernel.shape == (1, 7, 7)
    assert simulate(sharp, kernel).kernel.shape == kernel.shape


def test_frames_have_noise_of_their_own(volume):
    frames = np.stack([volume, volume])
    made = simulate(frames, Gaussian((0.3, 0.15, 0.15)), pixel_size=SIZE, photons=100)
    assert made.image.shape == frames.shape
    assert (made.image[0] != made.image[1]).any()
    assert (made.truth[0] == made.truth[1]).all()
    assert made.kernel.shape[0] > 1


# Blur that varies --------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", ["x", "y"])
def test_a_tilt_varies_the_parameter_from_border_to_border(axis):
    point = np.zeros((81, 81))
    made = simulate(point, Disc(4.0), field=f"tilt=0.5,axis={axis}", photons=0)
    assert isinstance(made.kernel, KernelField)
    places = ((0, 40, 0), (0, 40, 40), (0, 40, 80))
    if axis == "y":
        places = tuple((z, x, y) for z, y, x in places)
    for place, radius in zip(places, (2.0, 4.0, 6.0), strict=True):
        wanted = Disc(radius)(made.kernel.shape, (1.0, 1.0, 1.0)).at()
        assert made.kernel.kernel_at(place) == pytest.approx(wanted, abs=1e-6)
    assert made.kernel.maps["radius"].ravel() == pytest.approx(np.linspace(2, 6, 9))
    assert made.report["kernel"]["field"]["parameter"] == "radius"


def test_a_point_is_blurred_by_the_kernel_of_its_place():
    sharp = np.zeros((81, 91))
    sharp[40, 20] = sharp[40, 70] = 1.0
    made = simulate(sharp, Disc(4.0), field="tilt=0.5", photons=0)
    for x in (20, 70):
        kernel = made.kernel.kernel_at((0, 40, x))[0]
        half = kernel.shape[0] // 2
        seen = made.image[40 - half : 41 + half, x - half : x + half + 1]
        assert seen == pytest.approx(kernel, abs=1e-5)


def test_a_radial_blur_grows_to_the_corners():
    made = simulate(np.ones((65, 65)), Disc(3.0), field="radial=0.8", photons=0)
    # Light is kept, and flatness nearly: more of it leaves a place of a wider kernel than comes.
    assert made.image == pytest.approx(1, abs=0.05)
    middle, corner = made.kernel.kernel_at((0, 32, 32)), made.kernel.kernel_at((0, 0, 64))
    for kernel, radius in ((middle, 3.0), (corner, 5.4)):
        wanted = Disc(radius)(made.kernel.shape, (1.0, 1.0, 1.0)).at()
        assert kernel == pytest.approx(wanted, abs=1e-6)


def test_blur_varies_with_depth_in_two_and_three_dimensions(volume):
    plain = simulate(volume, Disc(0.1), field="depth=1.0", pixel_size=SIZE, photons=0)
    assert plain.kernel.shape[0] == 1
    assert np.abs(plain.kernel.kernel_at((7, 0, 0))[0] - plain.kernel.kernel_at((0, 0, 0))[0]).max()
    top = Disc(0.1)(plain.kernel.shape, SIZE)
    # The first plane is blurred by the first kernel alone.
    wanted = simulate(volume[0], top, photons=0).image
    assert plain.image[0] == pytest.approx(wanted, abs=1e-3)
    solid = simulate(
        volume, Gaussian((0.3, 0.12, 0.12)), field="depth=1", pixel_size=SIZE, photons=0
    )
    assert solid.kernel.shape[0] > 1
    assert solid.image.shape == volume.shape


def test_a_parameter_called_depth_grows_in_micrometres():
    rule = Variation.of("depth=1.0")

    class Model:
        depth = 2.0

    from napari_deblur.varying import _value

    assert _value(Model(), "depth", rule, 0.5, 6.0) == 5.0
    assert Variation.of("radial=0.3,parameter=sigma,nodes=5") == Variation(
        "radial", 0.3, "x", "sigma", 5
    )


# What makes no sense -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"truth": np.full((9, 9), np.nan)}, "has 81 values that are NaN or infinite: crop them"),
        ({"truth": np.full((9, 9), -1.0)}, "goes down to -1 and light is 0 or more"),
        ({"truth": np.zeros((9, 9))}, "is dark everywhere, so no photons can be counted"),
        ({"truth": np.zeros(9)}, "real numbers on axes y,x or z,y,x or t,z,y,x, got"),
        ({"photons": -1}, "photons is -1: give 0 or more"),
        ({"photons": 1e30}, r"photons are 1e\+30: give 1e\+12 or less"),
        ({"gain": 0}, "gain is 0: give a number above 0"),
        ({"read_noise": np.nan}, "read noise is nan: give 0 or more"),
        ({"seed": -1}, "seed is -1: give a whole number"),
        ({"border": "wrap"}, 'border is "wrap": take mirror, crop or dark'),
        ({"psf": Disc(20.0), "border": "crop"}, "the kernel has 1 × 41 × 41 voxels and the image"),
        ({"psf": "airy"}, 'no psf "airy"; there are: '),
        ({"psf": np.ones((3, 3)), "field": "tilt=1"}, "a kernel that is given"),
        ({"field": "tilt"}, 'field "tilt" is none: write tilt=0.5'),
        ({"field": "tilt=1,radial=2"}, "is none: write"),
        ({"field": "tilt=0.5,axis=z"}, "along .z.: write tilt, radial or depth"),
        ({"field": "tilt=0.5,parameter=sigma"}, 'disc has no number "sigma": say which one varies'),
        (
            {"field": "tilt=2"},
            "the field tilt=2 goes too far: radius of disc is -1: give a number 0 or more",
        ),
        ({"psf": ("pupil", {"na": 0.9, "wavelength": 0.5})}, "voxel size is not known: give"),
        ({"psf": "gaussian", "optics": Facts(na=0.9, wavelength=0.5)}, "voxel size is not known"),
        ({"field": "depth=1"}, "the image has one plane, so nothing varies with depth"),
    ],
)
def test_what_cannot_be_simulated_is_said(change, said):
    asked = {"truth": np.ones((21, 21)), "psf": Disc(1.0), **change}
    with pytest.raises((ValueError, KeyError), match=said):
        simulate(asked.pop("truth"), asked.pop("psf"), **asked)


# On the command line -----------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path, volume):
    sizes = {f"PhysicalSize{a.upper()}": s for a, s in zip("zyx", SIZE, strict=True)}
    both = np.stack([volume, volume[::-1]]).astype(np.uint16)
    names = {"Channel": {"Name": ["DAPI", "Cy5"]}}
    tifffile.imwrite(
        tmp_path / "v.ome.tif",
        both,
        metadata={"axes": "CZYX", **sizes, **names},
        photometric="minisblack",
    )
    return tmp_path / "v.ome.tif"


def test_a_folder_of_ome_zarr(tmp_path, file):
    out = tmp_path / "sim"
    options = ("--psf", "gaussian", "--psf-set", "sigma=0.3,0.12,0.12", "--seed", 4)
    said = called("simulate", file, out, *options, "--photons", 500, "--offset", 50)
    assert "wrote" in said
    image = nd.open_stack(out / "image.ome.zarr")
    truth = nd.open_stack(out / "truth.ome.zarr")
    assert image.axes == "czyx"
    assert [channel.name for channel in image.channels] == ["DAPI", "Cy5"]
    assert image.pixel_size == SIZE
    assert image.shape == truth.shape == (1, 2, 8, 40, 44)
    kernels = nd.open_stack(out / "kernels.ome.zarr")
    assert kernels.pixel_size == SIZE
    assert kernels.axes == "zyx"  # one for both
    # Each channel is what Python makes of it.
    sharp = nd.open_stack(file)
    for c in (0, 1):
        made = simulate(
            sharp.read(0, c), Gaussian((0.3, 0.12, 0.12)), pixel_size=SIZE, photons=500,
            offset=50.0, seed=(4, c),
        )  # fmt: skip
        assert (made.image == image.read(0, c)).all()
        assert (made.truth == truth.read(0, c)).all()
    record = json.loads((out / "provenance.json").read_text())
    assert record["channels"][1]["seed"] == [4, 1]
    assert record["channels"][0]["facts"]["offset"] == 50
    assert record["versions"]["numpy"] == np.__version__
    called("simulate", file, tmp_path / "again", *options, "--photons", 500, "--offset", 50)
    for chunk in sorted((out / "image.ome.zarr").rglob("c/*/*/*/*")):
        same = tmp_path / "again" / chunk.relative_to(out)
        assert same.read_bytes() == chunk.read_bytes()


def test_tiffs_and_a_kernel_that_a_run_can_use(tmp_path, file):
    out = tmp_path / "sim.tif"
    options = ("--psf", "disc", "--psf-set", "radius=0.25", "--channels", "Cy5")
    called("simulate", file, out, *options)
    names = {path.name for path in tmp_path.iterdir()}
    assert names >= {"sim.tif", "sim.truth.tif", "sim.kernels.tif", "sim.json"}
    kernel = load_kernel(tmp_path / "sim.kernels.tif")
    assert kernel.pixel_size == pytest.approx(SIZE)
    assert kernel.at() == pytest.approx(Disc(0.25)("auto", SIZE).at(), abs=1e-6)
    assert nd.open_stack(out).pixel_size == pytest.approx(SIZE)
    plan = nd.plan(nd.open_stack(out), nd.methods["identity"](), kernel=kernel)
    assert plan.kernel.shape == kernel.shape
    assert "exists: choose another output, or use --overwrite" in called(
        "simulate", file, out, *options, status=1
    )
    called("simulate", file, out, *options, "--overwrite")
    tifffile.imwrite(out, np.zeros((4, 4)))
    assert "only images of napari-deblur are" in called(
        "simulate", file, out, *options, "--overwrite", status=1
    )
    out.unlink()
    (tmp_path / "sim.truth.tif").unlink()
    (tmp_path / "sim.kernels.tif").unlink()
    said = called("simulate", file, out, *options, "--overwrite", status=1)
    assert "sim.json exists: choose another output, or delete it" in said


@pytest.mark.parametrize("vary", [(), ("--field", "tilt=0.5,axis=x")])
def test_without_a_voxel_size_neither_image_nor_kernels_state_one(tmp_path, sharp, vary):
    tifffile.imwrite(tmp_path / "sharp.tif", sharp)
    out = tmp_path / "sim"
    gaussian = ("--psf", "gaussian", "--psf-set", "sigma=0,1.5,1.5")
    said = called("simulate", tmp_path / "sharp.tif", out, *gaussian, *vary)
    assert "the psf's lengths are in pixels" in said
    assert "px (y, x)" in said
    assert "µm" not in said
    assert nd.open_stack(out / "image.ome.zarr").pixel_size is None
    assert nd.open_stack(out / "kernels.ome.zarr").pixel_size is None
    if vary:
        assert load_field(out / "field_c0.npz").pixel_size is None
    else:
        assert load_kernel(out / "kernels.ome.zarr").pixel_size is None


def test_fields_beside_tiffs_are_those_of_the_last_simulation(tmp_path, file):
    out, options = tmp_path / "s.tif", ("--psf", "disc", "--psf-set", "radius=0.25")
    called("simulate", file, out, *options, "--field", "radial=0.5")
    assert sorted(path.name for path in tmp_path.glob("s.*")) == [
        "s.field_c0.npz", "s.field_c1.npz", "s.json", "s.kernels.tif", "s.tif", "s.truth.tif",
    ]  # fmt: skip
    called("simulate", file, out, *options, "--overwrite")
    assert not list(tmp_path.glob("s.field*"))


def test_the_mosaic_of_a_field_in_a_tiff_is_never_taken_for_one_kernel(tmp_path, file):
    out, options = tmp_path / "s.tif", ("--psf", "disc", "--psf-set", "radius=0.25")
    called("simulate", file, out, *options, "--field", "radial=0.5")
    for path in (tmp_path / "s.kernels.tif", tmp_path / "moved" / "k.tif"):
        if not path.exists():
            path.parent.mkdir()
            path.write_bytes((tmp_path / "s.kernels.tif").read_bytes())
        with pytest.raises(ValueError, match="kernels side by side, one for each node") as raised:
            load_kernel(path)
        said = "give the field, s.field_c0.npz, which lies beside it"
        assert (said in str(raised.value)) == (path.parent == tmp_path)
    assert "s.field_c0.npz" in called("kernel", tmp_path / "s.kernels.tif", status=1)
    again = ("run", out, tmp_path / "r.deblur.zarr", "--kernel", tmp_path / "s.kernels.tif")
    assert "s.field_c0.npz" in called(*again, status=1)


def test_a_colour_photograph_becomes_its_brightness(tmp_path):
    colours = np.random.default_rng(0).integers(0, 255, (30, 32, 3)).astype(np.uint8)
    Image.fromarray(colours).save(tmp_path / "c.png")
    said = called(
        "simulate", tmp_path / "c.png", tmp_path / "o", "--psf", "motion", "--psf-set", "length=5",
        "--photons", 0, "--border", "crop", "--field", "tilt=0.5,axis=x",
    )  # fmt: skip
    assert "lengths are in pixels" in said
    assert "of the colours the brightness is taken" in said
    truth = nd.open_stack(tmp_path / "o" / "truth.ome.zarr")
    assert truth.axes == "yx"
    light = linear_light(colours.astype(np.float32), "srgb", "uint8")
    wanted = light @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    lost = 32 - truth.shape[4]
    assert lost > 0
    kept = wanted[:, lost // 2 : 32 - lost // 2]
    assert truth.read(0, 0)[0] == pytest.approx(kept, rel=1e-4)
    attributes = json.loads((tmp_path / "o/kernels.ome.zarr/zarr.json").read_text())["attributes"]
    said = attributes["napari_deblur"]
    assert len(said["nodes"]["x"]) == 9
    z, y, x = said["shape"]
    assert nd.open_stack(tmp_path / "o/kernels.ome.zarr").shape[2:] == (z, y, 9 * x)
    assert np.ravel(said["maps"]["length"])[[0, -1]] == pytest.approx([2.5, 7.5])
    field = load_field(tmp_path / "o/field_c0.npz")
    assert field.rank == 9
    assert field.nodes[2] == pytest.approx(said["nodes"]["x"])
    again = simulate(wanted, field, photons=0, border="crop").image
    assert again == pytest.approx(nd.open_stack(tmp_path / "o/image.ome.zarr").read(0, 0)[0])


def test_channels_whose_kernels_differ_have_one_each(tmp_path, volume):
    from napari_deblur.simulations import pictures_of, simulate_stack
    from napari_deblur.stack import Channel, Optics, Pixels, Stack

    waves = (Channel("DAPI", emission=0.46), Channel("Cy5", emission=0.67))
    stack = Stack(
        Pixels(np.stack([volume, volume]), "czyx"), "czyx", SIZE, waves, Optics(1.2, 1.33)
    )
    made = pictures_of(stack, simulate_stack(stack, "gaussian", photons=100))
    kernels = made["kernels"]
    assert kernels.axes == "czyx"
    assert kernels.array.shape[0] == 2
    peaks = kernels.array.max(axis=(1, 2, 3))
    assert peaks[0] > peaks[1]


@pytest.mark.parametrize("name", ["sim", "sim.tif"])
def test_a_movie_keeps_its_time_step(tmp_path, sharp, name):
    movie = np.stack([sharp[:32, :40]] * 3)
    about = {"axes": "TYX", "TimeIncrement": 2.5, "TimeIncrementUnit": "s"}
    tifffile.imwrite(tmp_path / "movie.ome.tif", movie, metadata=about)
    out = tmp_path / name
    called("simulate", tmp_path / "movie.ome.tif", out, "--psf", "disc", "--photons", 100)
    images = [out / "image.ome.zarr", out / "truth.ome.zarr"]
    if name.endswith("tif"):
        images = [out, tmp_path / "sim.truth.tif"]
    for image in images:
        stack = nd.open_stack(image)
        assert (stack.axes, stack.time_step) == ("tyx", 2.5)


def test_folders_of_others_are_left_alone(tmp_path, file):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "a.txt").write_text("a")
    options = ("--psf", "disc", "--channels", 0, "--overwrite")
    assert "only simulations are overwritten" in called("simulate", file, mine, *options, status=1)
    assert "give a folder" in called("simulate", file, tmp_path / "x.zarr", *options, status=1)
    assert "name what blurs" in called("simulate", file, tmp_path / "x", status=2)
    nan = np.full((9, 9), np.nan, np.float32)
    tifffile.imwrite(tmp_path / "nan.tif", nan, metadata={"axes": "YX"})
    said = called("simulate", tmp_path / "nan.tif", tmp_path / "x", "--psf", "disc", status=1)
    assert "NaN or infinite" in said
    assert "no file or folder" in called("simulate", "none.tif", tmp_path / "x", "--psf", "disc",
                                         status=1)  # fmt: skip
    assert not (tmp_path / "x").exists()


def test_optics_come_from_the_options(tmp_path, file):
    options = ("--na", 1.2, "--wavelength", 0.52, "--n-immersion", 1.33, "--channels", 0)
    called("simulate", file, tmp_path / "o", "--psf", "gaussian", *options)
    kernel = load_kernel(tmp_path / "o" / "kernels.ome.zarr")
    assert kernel.at().sum() == pytest.approx(1)
    record = json.loads((tmp_path / "o" / "provenance.json").read_text())
    wanted = Gaussian.from_optics(1.2, 0.52, 1.33).sigma
    assert record["channels"][0]["kernel"]["sigma"] == pytest.approx(wanted)


@pytest.mark.parametrize("name", ["sim", "sim.tif"])
def test_images_say_with_which_optics_they_were_simulated(tmp_path, file, name):
    lens = ("--psf", "gibson-lanni", "--na", 1.2, "--wavelength", 0.52, "--n-immersion", 1.33)
    out = tmp_path / name
    called("simulate", file, out, *lens, "--n-sample", 1.36, "--shape", "5,9,9", "--photons", 100)
    images = [out / "image.ome.zarr", out / "truth.ome.zarr"]
    if name.endswith("tif"):
        images = [out, tmp_path / "sim.truth.tif"]
    for image in images:
        stack = nd.open_stack(image)
        assert stack.optics == Optics(1.2, 1.33, 1.36)
        assert [channel.emission for channel in stack.channels] == pytest.approx([0.52, 0.52])
        assert [channel.name for channel in stack.channels] == ["DAPI", "Cy5"]
        assert (stack.axes, stack.pixel_size) == ("czyx", pytest.approx(SIZE))
    # The model is complete for those who read the image.
    plan = nd.plan(images[0], "richardson-lucy", psf="gibson-lanni", shape=(5, 9, 9))
    assert plan.kernel.at() == pytest.approx(load_kernel(_kernels_beside(out)).at(), abs=1e-6)


def _kernels_beside(out):
    return out.with_name("sim.kernels.tif") if out.suffix else out / "kernels.ome.zarr"


def test_optics_that_are_not_known_are_not_stated(tmp_path, file):
    for out, image in ((tmp_path / "o", "o/image.ome.zarr"), (tmp_path / "o.tif", "o.tif")):
        called("simulate", file, out, "--psf", "disc", "--psf-set", "radius=0.25", "--na", 0.8)
        stack = nd.open_stack(tmp_path / image)
        assert stack.optics == Optics(0.8)
        assert [channel.emission for channel in stack.channels] == [None, None]


@pytest.mark.parametrize("name", ["sim", "sim.tif"])
def test_the_same_seed_gives_the_same_files(tmp_path, file, name):
    options = ("--psf", "disc", "--psf-set", "radius=0.25", "--field", "radial=0.5", "--seed", 3)
    places = [tmp_path / "a", tmp_path / "b", tmp_path / "c"]
    for place in places:
        place.mkdir()
        seed = ("--seed", 4) if place.name == "c" else ()
        called("simulate", file, place / name, *options, *seed)
    one, two, other = (
        {p.relative_to(place): p.read_bytes() for p in place.rglob("*") if p.is_file()}
        for place in places
    )
    assert one == two
    assert one != other
    if name.endswith("tif"):
        texts = [tifffile.tiffcomment(place / name) for place in places]
        assert texts[0] != texts[2]  # another image has another identifier


def test_voxels_too_coarse_for_the_optics_are_spoken_of(tmp_path, file):
    lens = ("--psf", "gibson-lanni", "--na", 1.2, "--wavelength", 0.52, "--n-immersion", 1.33)
    asked = (file, tmp_path / "o", *lens, "--photons", 100)
    said = called("simulate", *asked, "--pixel-size", "1,1,1", "--shape", "5,9,9")
    assert "coarse" in said
    assert "channel 1" in said
    made = simulate(np.ones((9, 40, 40)), ("gibson-lanni", {"na": 1.2, "wavelength": 0.52}),
                    pixel_size=(0.2, 0.08, 0.08), shape=(5, 9, 9))  # fmt: skip
    assert made.notes == ()
    assert (made.facts.na, made.facts.wavelength) == (1.2, 0.52)


def test_a_path_larger_than_the_image_is_centred_and_spoken_of(sharp):
    made = simulate(sharp, Motion(600.0, path="hand-shake", seed=1), photons=0)
    assert made.kernel.shape[1:] == (119, 143)
    assert made.kernel.centroid() == pytest.approx((0, 0, 0), abs=0.3)
    assert "falls farther than its kernel reaches" in made.notes[0]
