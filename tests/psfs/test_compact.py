"""Compact models: pixel-integrated, centred, of sum 1, differentiable, as they are described."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import erf, j0

import napari_deblur as nd
from napari_deblur.kernels import save_kernel
from napari_deblur.measuring import of_model
from napari_deblur.modelled import too_far
from napari_deblur.protocols import Facts, Kernel
from napari_deblur.psfs.disc import Disc
from napari_deblur.psfs.gaussian import Gaussian
from napari_deblur.psfs.measured import Measured
from napari_deblur.psfs.motion import Motion
from napari_deblur.psfs.turbulence import Turbulence
from napari_deblur.simulating import simulate

SIZE = (0.3, 0.1, 0.13)
MODELS = [
    Gaussian((0.4, 0.13, 0.2)),
    Disc(0.57),
    Motion(1.3, 35.0, 0.1),
    Motion(1.3, 35.0),
    Motion(2.0, 10.0, 0.12, "hand-shake", 3),
    Turbulence(0.4),
    Turbulence(0.5, "short", 0.15, 2),
]
NAMES = [f"{nd.psfs.name_of(m)}-{i}" for i, m in enumerate(MODELS)]
models = pytest.mark.parametrize("model", MODELS, ids=NAMES)


@models
@pytest.mark.parametrize("shape", [(1, 31, 31), (1, 30, 32), (1, 31, 30), (3, 31, 31)])
def test_a_kernel_sums_to_one_around_its_middle(model, shape):
    array = model.tensor(shape, SIZE)
    assert array.dtype == torch.float32
    assert tuple(array.shape) == shape
    assert float(array.min()) >= 0
    assert float(array.sum()) == pytest.approx(1, abs=1e-5)
    kernel = model(shape, SIZE)
    assert kernel.array[0, 0] == pytest.approx(array.numpy(), abs=1e-7)
    # Those that are cut, or whose thin lines lie anyhow on the pixels, are centred less exactly.
    if shape[1] % 2 and shape[2] % 2:
        assert np.abs(kernel.centroid()).max() < 0.06
    middle = tuple(n // 2 for n in shape)
    if nd.psfs.name_of(model) in ("gaussian", "disc"):
        assert np.isclose(kernel.at()[middle], kernel.at().max())


@models
def test_auto_holds_999_of_the_energy_and_says_what_it_leaves_out(model):
    kernel = model("auto", SIZE)
    assert kernel.shape == model.default_shape(SIZE)
    assert all(n % 2 for n in kernel.shape)
    assert 0 <= kernel.report["left_out"] <= 1e-3
    assert kernel.report["psf"] == nd.psfs.name_of(model)
    large = model((1, 301, 301), SIZE).at()[0]
    z, y, x = model("auto", SIZE, image=(1, 400, 400)).shape
    assert z == 1
    inside = large[150 - y // 2 : 151 + y // 2, 150 - x // 2 : 151 + x // 2]
    assert inside.sum() >= 0.9985


@models
def test_auto_is_capped_by_the_image(model):
    assert model("auto", SIZE, image=(1, 4, 5)).shape <= (1, 7, 9)
    wide = model.default_shape(SIZE)
    assert model.default_shape(SIZE, (100, 1000, 1000)) == wide


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (Gaussian((0.4, 0.13, 0.2)), "sigma"),
        (Disc(0.57), "radius"),
        (Motion(1.3, 35.0, 0.1), "length"),
        (Motion(1.3, 35.0, 0.1), "angle"),
        (Motion(1.3, 35.0, 0.1, "hand-shake", 3), "width"),
        (Turbulence(0.4), "fwhm"),
        (Turbulence(0.4, "short", 0.15), "fwhm"),
    ],
)
def test_kernels_are_differentiable(model, name):
    shape = (3 if name == "sigma" else 1, 15, 14)
    weights = torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    value = torch.tensor(getattr(model, name), dtype=torch.float64, requires_grad=True)

    def score(at):
        # Before it is rounded to float32, so that differences mean something.
        share = model.share(shape, SIZE, {name: at})
        return (share / share.sum() * weights).sum()

    (gradient,) = torch.autograd.grad(score(value), value)
    steps = torch.eye(3).double() * 1e-5 if value.ndim else torch.tensor([1e-5]).double()
    with torch.no_grad():
        wanted = [(score(value + s) - score(value - s)) / 2e-5 for s in steps]
    assert gradient.flatten().numpy() == pytest.approx(torch.stack(wanted).numpy(), rel=1e-4)
    by_name = model.tensor(shape, SIZE, **{name: value.detach()})
    assert torch.equal(by_name, model.tensor(shape, SIZE))
    assert model.tensor(shape, SIZE, **{name: value}).requires_grad


def test_a_gaussian_is_that_of_the_error_function():
    def profile(n, sigma):
        edges = np.append(np.arange(n) - n // 2 - 0.5, n - 1 - n // 2 + 0.5)
        return np.diff(erf(edges / (np.sqrt(2) * sigma)))

    z, y, x = profile(7, 0.4 / 0.3), profile(9, 1.3), profile(8, 0.2 / 0.13)
    wanted = z[:, None, None] * y[:, None] * x
    made = Gaussian((0.4, 0.13, 0.2))((7, 9, 8), SIZE).at()
    assert made == pytest.approx(wanted / wanted.sum(), abs=1e-7)
    point = Gaussian((0.0, 0.0, 0.0))((3, 5, 5), SIZE).at()
    assert point[1, 2, 2] == 1


@pytest.mark.parametrize("radius", [0.02, 0.05, 0.1, 0.33])
def test_a_disc_gives_each_pixel_its_area_of_the_circle(radius):
    made = Disc(radius)((1, 9, 9), SIZE).at()[0]
    for row, column in ((4, 4), (4, 5), (5, 5), (2, 4), (7, 4), (6, 5)):
        y, x = (row - 4) * 0.1, (column - 4) * 0.13

        def covered(v, x=x):
            half = np.sqrt(max(radius**2 - v**2, 0))
            return max(min(x + 0.065, half) - max(x - 0.065, -half), 0)

        area = quad(covered, y - 0.05, y + 0.05, points=sorted((0.0, y)), limit=500)[0]
        assert made[row, column] == pytest.approx(area / (np.pi * radius**2), abs=2e-5)
    assert Disc(0.0)("auto", SIZE).shape == (1, 1, 1)


def test_a_straight_motion_is_even_along_its_line():
    made = Motion(1.0)((1, 3, 15), (1.0, 0.1, 0.1)).at()[0]
    assert made[1, 2:13] == pytest.approx([0.05, *[0.1] * 9, 0.05], abs=2e-3)
    assert Motion(1.0, 90.0)((1, 15, 3), (1.0, 0.1, 0.1)).at()[0] == pytest.approx(made.T, abs=1e-6)
    # From x towards y: an angle of 45° goes down to the right.
    slanted = Motion(1.0, 45.0)((1, 9, 9), (1.0, 0.1, 0.1)).at()[0]
    assert np.trace(slanted) > 0.5 > np.trace(slanted[:, ::-1])
    wide = Motion(0.0, 0.0, 0.3)((1, 31, 31), (1.0, 0.1, 0.1)).at()[0]
    sigma = 0.3 / 2.3548
    round_one = Gaussian((0, sigma, sigma))((1, 31, 31), (1, 0.1, 0.1)).at()[0]
    assert wide == pytest.approx(round_one, abs=1e-5)


def test_a_hand_shakes_by_its_seed_and_over_its_length():
    made = [Motion(3.0, path="hand-shake", seed=s)("auto", (1.0, 0.1, 0.1)) for s in (0, 1, 1)]
    assert made[0].shape != made[1].shape or (made[0].array != made[1].array).any()
    assert (made[1].array == made[2].array).all()
    for kernel in made:
        y, x = np.nonzero(kernel.at()[0] > 1e-4)
        far = np.hypot(y[:, None] - y, x[:, None] - x).max()
        assert 28 < far < 33
    # Without nerves it goes straight on.
    calm = Motion(3.0, path="hand-shake", seed=0, anxiety=0.0)("auto", (1.0, 0.1, 0.1)).at()[0]
    spread = np.cov(np.nonzero(calm), aweights=calm[calm > 0])
    assert np.linalg.eigvalsh(spread)[0] < 0.3


def test_long_turbulence_is_the_hankel_transform_of_its_law():
    width = 0.4 / 0.97553

    def light(r):
        return quad(
            lambda f: f * np.exp(-3.44 * (f * width) ** (5 / 3)) * j0(2 * np.pi * f * r),
            0, 8, limit=400,
        )[0] * 2 * np.pi  # fmt: skip

    assert light(0.2) == pytest.approx(light(0) / 2, rel=1e-3)
    made = Turbulence(0.4)("auto", (1.0, 0.1, 0.1)).at()[0]
    middle = made.shape[0] // 2
    places, weights = np.polynomial.legendre.leggauss(3)  # a pixel's mean, by nine of its points
    for dy, dx in ((0, 0), (0, 2), (3, 3), (0, 8)):
        mean = sum(
            v * w / 4 * light(0.1 * np.hypot(dy + y / 2, dx + x / 2))
            for y, v in zip(places, weights, strict=True)
            for x, w in zip(places, weights, strict=True)
        )
        assert made[middle + dy, middle + dx] == pytest.approx(mean * 0.01, rel=2e-3)


def test_short_exposures_add_up_to_the_long_one():
    size = (1.0, 0.1, 0.1)
    short = [Turbulence(0.5, "short", 0.1, seed)((1, 41, 41), size).at()[0] for seed in range(24)]
    assert np.std([k.max() for k in short]) > 0
    mean, long = np.mean(short, axis=0), Turbulence(0.5)((1, 41, 41), size).at()[0]
    # Each is centred, so their mean is narrower than a long exposure, which wanders too; and the
    # aperture widens them.
    share = [k[20 - 5 : 26, 20 - 5 : 26].sum() for k in (mean, long)]
    assert share[0] == pytest.approx(share[1], abs=0.12)
    assert np.abs(Kernel(short[0]).centroid()).max() < 0.1
    weak = Turbulence(0.01, "short", 0.4 / 1.22)((1, 41, 41), size).at()[0]
    # Hardly any turbulence: the Airy pattern, dark at 1.22 speckles.
    assert weak[20, 20 + 4] < 0.005 * weak[20, 20]


def test_a_measured_kernel_is_itself_at_its_own_voxel_size(tmp_path):
    random = np.random.default_rng(0)
    array = Gaussian((0.4, 0.13, 0.2))((9, 13, 15), SIZE).at() * random.uniform(0.5, 1, (9, 13, 15))
    save_kernel(Kernel(array.astype(np.float32), SIZE), tmp_path / "k.tif")
    model = Measured(str(tmp_path / "k.tif"), centre="none")
    assert model((9, 13, 15), SIZE).at() == pytest.approx(array / array.sum(), abs=1e-7)
    assert model((3, 5, 5), SIZE).shape == (3, 5, 5)
    peak = Measured(str(tmp_path / "k.tif"), centre="peak")((9, 13, 15), SIZE).at()
    assert peak[4, 6, 7] == peak.max()
    centred = Measured(str(tmp_path / "k.tif"))((13, 17, 19), SIZE)
    assert np.abs(centred.centroid()).max() < 0.02
    flat = model("auto", SIZE, image=(1, 200, 200))
    assert flat.at()[0, flat.shape[1] // 2] == pytest.approx(
        array[4, 6, 7 - flat.shape[2] // 2 : 8 + flat.shape[2] // 2]
        / array[4][
            6 - flat.shape[1] // 2 : 7 + flat.shape[1] // 2,
            7 - flat.shape[2] // 2 : 8 + flat.shape[2] // 2,
        ].sum(),
        rel=1e-4,
    )


@pytest.mark.parametrize("new", [(0.6, 0.2, 0.26), (0.9, 0.3, 0.39), (0.21, 0.07, 0.11)])
def test_a_measured_kernel_keeps_its_width_at_another_voxel_size(tmp_path, new):
    model = Gaussian((0.9, 0.35, 0.4))
    save_kernel(model("auto", SIZE), tmp_path / "k.npz")
    other = Measured(str(tmp_path / "k.npz"))("auto", new)
    wanted = model(other.shape, new)
    assert other.report["left_out"] <= 1.1e-3
    assert np.abs(other.at() - wanted.at()).max() < 0.03 * wanted.at().max()


def test_what_a_model_cannot_do_is_said(tmp_path):
    with pytest.raises(TypeError, match='disc has no continuous parameter "sigma"; there are: rad'):
        Disc().tensor((1, 5, 5), SIZE, sigma=torch.ones(1))
    with pytest.raises(ValueError, match=r"the shape of a kernel is \(z, y, x\)"):
        Disc()((0, 5, 5), SIZE)
    with pytest.raises(ValueError, match=r"pixel_size is .* each above 0"):
        Disc()("auto", (1.0, 0.0, 1.0))
    with pytest.raises(ValueError, match="radius of disc is nan: give a number 0 or more"):
        Disc(float("nan"))
    with pytest.raises(ValueError, match="speckle of turbulence is 0: give a number above 0"):
        Turbulence(speckle=0.0)
    with pytest.raises(ValueError, match="more than 64 speckles across"):
        Turbulence(10.0, "short", 0.1)
    with pytest.raises(ValueError, match='path of motion is "spiral": take line or hand-shake'):
        Motion(path="spiral")
    with pytest.raises(FileNotFoundError, match="there is no kernel at"):
        Measured(str(tmp_path / "none.tif"))("auto", SIZE)
    np.save(tmp_path / "k.npy", np.ones((3, 3)))
    with pytest.raises(ValueError, match="does not say its voxel size: give it in µm"):
        Measured(str(tmp_path / "k.npy"))("auto", SIZE)
    assert Measured(str(tmp_path / "k.npy"), SIZE)("auto", SIZE).shape == (1, 3, 3)


def test_psfs_that_plan_an_image_say_what_they_leave_out():
    image = np.random.default_rng(0).poisson(50, (32, 32)).astype(np.uint16)
    stack = nd.open_stack(image, "yx", (0.1, 0.1))
    plan = nd.plan(stack, nd.methods["richardson-lucy"](iterations=2), psf=Turbulence(0.6))
    assert plan.kernel.shape == (1, 63, 63)
    assert 0.003 < plan.kernel.report["left_out"] < 0.05


@models
def test_what_a_chosen_shape_cuts_off_is_said(model):
    auto = model("auto", SIZE)
    cut = model((1, 3, 3), SIZE)
    large = model((1, 301, 301), SIZE).at()[0]
    inside = large[149:152, 149:152].sum()
    if nd.psfs.name_of(model) != "motion":  # which is centred anew within its shape
        assert cut.report["left_out"] == pytest.approx(1 - inside, abs=2e-3)
    assert cut.report["left_out"] > auto.report["left_out"]
    assert too_far(auto, chosen=True) == []
    assert "larger --shape" in too_far(cut, chosen=True)[0]


def test_a_disc_cut_off_by_its_shape_is_told_by_every_command(tmp_path):
    image = np.random.default_rng(0).poisson(50, (40, 40)).astype(np.uint16)
    _, notes = of_model("disc", {"radius": 0.6}, Facts(), SIZE, (1, 5, 5))
    assert any("of the light of the disc falls farther" in note for note in notes)
    stack = nd.open_stack(image, "yx", (0.1, 0.1))
    plan = nd.plan(stack, nd.methods["identity"](), psf=("disc", {"radius": 0.6}), shape=(5, 5))
    assert any("of the light of the disc falls farther" in note for note in plan.notes)
    seen = simulate(image, ("disc", {"radius": 0.6}), pixel_size=SIZE, shape=(1, 5, 5))
    assert any("of the light of the disc falls farther" in note for note in seen.notes)


def test_models_of_other_packages_need_not_know_auto():
    class Old:
        def default_shape(self, pixel_size):
            return 3, 41, 101

        def __call__(self, shape, pixel_size):
            return Kernel(np.ones(shape), pixel_size, {"psf": "old"})

    class Plain:
        def __call__(self, shape, pixel_size):
            return Kernel(np.ones(shape), pixel_size)

    image = np.random.default_rng(0).poisson(50, (32, 32)).astype(np.uint16)
    stack = nd.open_stack(image, "yx", (0.1, 0.1))
    method = nd.methods["identity"]()
    assert nd.plan(stack, method, psf=Old()).kernel.shape == (1, 41, 63)
    assert nd.plan(stack, method, psf=Plain()).kernel.shape[0] == 1
    assert nd.plan(stack, method, psf=Plain(), shape=(1, 5, 7)).kernel.shape == (1, 5, 7)


@pytest.mark.parametrize("shape", [(1, 25, 25), (1, 24, 31), (3, 9, 40)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_of_a_path_that_does_not_fit_the_part_inside_is_centred(shape, seed):
    kernel = Motion(30.0, path="hand-shake", seed=seed)(shape, (1.0, 1.0, 1.0))
    assert kernel.centroid() == pytest.approx((0, 0, 0), abs=0.1)
