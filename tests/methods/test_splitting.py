"""What total variation and hyper-Laplacian promise beyond the contract."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.optimize
import torch

from napari_deblur import ops
from napari_deblur.methods import _cells as cells
from napari_deblur.methods import _proximal as proximal
from napari_deblur.methods.hyper_laplacian import HyperLaplacian
from napari_deblur.methods.total_variation import TotalVariation
from napari_deblur.protocols import Blur, Facts, Sample
from napari_deblur.testing import kernel_of, scene

BOTH = (TotalVariation, HyperLaplacian)


def blocks(shape=(80, 84), size=9, peak=200.0, background=10.0, seed=0):
    """Flat blocks under a Gaussian blur, in photons."""
    random = np.random.default_rng(seed)
    blur = Blur(torch.from_numpy(kernel_of((size, size), 1.6).at().copy()))
    thing = torch.zeros(ops.object_shape(shape, (size, size)))
    for _ in range(14):
        y, x = (int(random.integers(0, n - 12)) for n in thing.shape)
        thing[y : y + 12, x : x + int(random.integers(4, 16))] = peak * random.uniform(0.3, 1)
    clean = ops.blur(thing, blur).clamp(min=0).numpy() + background
    seen = torch.from_numpy(random.poisson(clean).astype(np.float32))
    facts = Facts(gain=1.0, offset=0.0, read_noise=0.0, background=background, noise=3.2)
    region = ((0, 1), (0, shape[0]), (0, shape[1]))
    return ops.crop(thing, blur) + background, Sample(seen, region, 0, 0, blur, facts)


def error(image, truth):
    return float((image - truth).square().mean().sqrt())


@pytest.mark.parametrize("power", [0.5, 2 / 3, 0.8, 1.0])
@pytest.mark.parametrize("threshold", [1e-3, 0.7, 40.0])
def test_the_prox_is_the_least(power, threshold):
    """Against a search on a fine grid; the table is exact to 1e-4 of the argument."""
    unit = threshold ** (1 / (2 - power))
    lengths = torch.tensor(unit) * torch.linspace(0.01, 30, 300)
    if power < 1:  # where the jump was made a slope
        least = unit * proximal._table(power)[0]
        lengths = lengths[(lengths < 0.49 * least) | (lengths > least)]
    found = proximal.shrunk(power, threshold, lengths)(lengths.square()) * lengths
    for s, v in zip(lengths.double().tolist(), found.double().tolist(), strict=True):
        cost = lambda u, s=s: (u - s) ** 2 / 2 + threshold * abs(u) ** power  # noqa: E731
        inside = scipy.optimize.minimize_scalar(cost, (0.7 * s, s), bounds=(0, s), method="bounded")
        assert cost(v) <= min(cost(0.0), inside.fun) + 1e-4 * s**2
    assert float(found[-1] / lengths[-1]) > 0.9
    assert float(found[0]) == 0


def test_a_length_of_zero_shrinks_to_zero():
    for power in (2 / 3, 1.0):
        factor = proximal.shrunk(power, 0.3, torch.zeros(1))(torch.zeros(4))
        assert bool((factor == 0).all())


@pytest.mark.parametrize("penalty", [1e-4, 0.1, 10.0])
def test_photons_meet_the_data_where_the_slope_is_zero(penalty):
    data = torch.tensor([0.0, 1.0, 30.0, 400.0])
    wanted = torch.tensor([5.0, -3.0, 60.0, 300.0])
    u = proximal.Poisson(2.0).prox(wanted.clone(), data, penalty).double()
    slope = 1 - data / (u + 2).clamp(min=1e-9) + penalty * (u - wanted)
    held = (data == 0) & (u <= -2 + 1e-3)
    assert float(slope[~held].abs().max()) < 1e-3
    assert bool((u >= -2 - 1e-3).all())


@pytest.mark.parametrize("shape", [(9,), (7, 8), (5, 6, 7)])
def test_a_cells_parts_hold_its_gradient(shape):
    """Their squares add up to the squared differences of neighbours, and `_spread` is adjoint."""
    ndim = len(shape)
    spacing = (2.0, 1.0, 1.5)[:ndim]
    random = torch.Generator().manual_seed(1)
    x = torch.rand(shape, generator=random, dtype=torch.float64)
    scales = cells.scales(spacing)
    parts = cells.parts(x, 0, shape[0], ndim)
    found = sum(float((s * p).square().sum()) for s, p in zip(scales, parts, strict=True))
    wanted = sum(
        float(((x.roll(-1, axis) - x) / step).square().sum()) for axis, step in enumerate(spacing)
    )
    assert found == pytest.approx(wanted, rel=1e-9)

    others = [torch.rand(shape, generator=random, dtype=torch.float64) for _ in parts]
    one = sum(float((a * b).sum()) for a, b in zip(others, parts, strict=True))
    right = torch.zeros_like(x)
    for a, b in ((0, 2), (2, shape[0])):  # two slabs
        cells.spread(right, [other[a:b].clone() for other in others], a, b, ndim)
    assert float((right * x).sum()) == pytest.approx(one, rel=1e-9)


def test_slabs_make_no_difference(monkeypatch):
    made = scene((20, 22, 24), (5, 4, 5), beads=4)
    fixed = TotalVariation(0.1, 8).resolved([made.sample()])
    whole = fixed(made.seen, made.blur).image
    monkeypatch.setattr(cells, "SLAB", 3000)
    torch.testing.assert_close(fixed(made.seen, made.blur).image, whole, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("cls", BOTH)
def test_automatic_numbers_beat_far_ones(cls):
    truth, sample = blocks()
    fixed = cls().resolved([sample])
    auto = error(fixed(sample.tile, sample.blur).image, truth)
    assert auto < 0.7 * error(sample.tile, truth)
    for factor in (0.01, 30.0):
        far = replace(fixed, weight=fixed.weight * factor, iterations=100)
        assert auto < error(far(sample.tile, sample.blur).image, truth)


def test_photons_are_taken_as_such_where_the_gain_is_known():
    _, sample = blocks()
    fixed = TotalVariation(weight=0.01, iterations=5)
    assert fixed.resolved([sample]).data == "poisson"
    unknown = replace(sample, facts=Facts(background=10.0, noise=3.0))
    assert fixed.resolved([unknown]).data == "gaussian"
    with pytest.raises(ValueError, match="give gain"):
        TotalVariation(data="poisson").resolved([unknown])


def test_photons_in_counts_of_any_unit():
    """Gain and offset only change the unit."""
    _, sample = blocks()
    facts = replace(sample.facts, gain=2.5, offset=100.0, background=125.0, noise=8.0)
    camera = replace(sample, tile=2.5 * sample.tile + 100, facts=facts)
    first = TotalVariation().resolved([sample])
    second = TotalVariation().resolved([camera])
    assert second.weight == pytest.approx(first.weight, rel=0.1)
    same = replace(second, weight=first.weight, iterations=first.iterations)
    one = first(sample.tile, sample.blur).image
    two = (same(camera.tile, camera.blur).image - 100) / 2.5
    assert float((one - two).abs().max() / one.max()) < 1e-3


def test_photons_keep_their_light():
    truth, sample = blocks(peak=500.0)
    image = TotalVariation().resolved([sample])(sample.tile, sample.blur).image
    inner = (slice(10, -10), slice(10, -10))
    assert float(image[inner].sum() / truth[inner].sum()) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("cls", BOTH)
def test_nothing_below_the_background_unless_wished(cls):
    _, sample = blocks()
    fixed = cls(weight=0.003, iterations=30).resolved([sample])
    lowest = [
        float(replace(fixed, nonnegative=sign)(sample.tile, sample.blur).image.min())
        for sign in (True, False)
    ]
    assert lowest[0] >= 10 - 1e-4
    assert lowest[1] < 9


@pytest.mark.parametrize("cls", BOTH)
def test_nothing_wraps_around(cls):
    """A light outside the tile blurs into its left border; the right one doesn't see it."""
    blur = Blur(torch.from_numpy(kernel_of((15, 15), 2.5).at().copy()))
    thing = torch.full(ops.object_shape((60, 64), (15, 15)), 50.0)
    dark = ops.blur(thing, blur)
    thing[:, :9] = 1000.0
    seen = ops.blur(thing, blur)
    fixed = cls(weight=0.1, iterations=60, background=0.0, noise=1.0, scale=60.0)
    fixed = fixed.resolved([Sample(seen, ((0, 1), (0, 60), (0, 64)), 0, 0, blur, Facts())])
    image = fixed(seen, blur).image
    assert float((image - ops.crop(thing, blur))[:, 12:].abs().max()) < 20
    other = fixed(dark, blur).image
    assert float((image - other)[:, 40:].abs().max()) < (2 if cls is TotalVariation else 20)


@pytest.mark.parametrize("cut", [110, 112])
def test_a_cut_shows_only_near_it(cut):
    """Not at the opposite border either, where transforms would wrap around."""
    _, sample = blocks((80, 160))
    fixed = TotalVariation(weight=0.01, iterations=20).resolved([sample])
    whole = fixed(sample.tile, sample.blur).image
    part = fixed(sample.tile[:, :cut].contiguous(), sample.blur).image
    apart = (whole[:, :cut] - part).abs().amax(dim=0) / 200
    assert float(apart[:5].max()) < 2e-3
    assert float(apart[10:80].max()) < 5e-4


def test_gradients_know_the_spacing():
    _, sample = blocks()
    solid = Blur(ops.delta((3, 3, 3))[None])
    tile = torch.rand(8, 9, 10)
    region = ((0, 8), (0, 9), (0, 10))
    cube = Sample(tile, region, 0, 0, solid, Facts(noise=0.1), (0.6, 0.2, 0.2))
    fixed = TotalVariation(weight=1.0, iterations=5)
    assert fixed.resolved([cube]).spacing == pytest.approx((3, 1, 1))
    assert fixed.resolved([sample]).spacing == (1, 1)
    with pytest.raises(ValueError, match="spacing has 2 values"):
        replace(fixed.resolved([cube]), spacing=(1.0, 1.0))(tile, solid)


def test_lines_are_restored_too():
    kernel = torch.tensor([[1.0, 2, 3, 2, 1]]) / 9
    line = torch.zeros(3, ops.object_shape((50,), (5,))[0])
    line[:, 20:30] = 100.0
    blur = Blur(kernel)
    seen = ops.blur(line, blur)
    sample = Sample(seen, ((0, 1), (0, 3), (0, 50)), 0, 0, blur, Facts(background=0.0, noise=0.1))
    image = TotalVariation(0.05, 100).resolved([sample])(seen, blur).image
    assert error(image, ops.crop(line, blur)) < 0.2 * error(seen, ops.crop(line, blur))


@pytest.mark.parametrize("cls", BOTH)
def test_a_field_is_refused(cls):
    blur = Blur(torch.ones(2, 3, 3) / 9, torch.ones(2, 12, 12))
    fixed = cls(1.0, 5, noise=1.0, background=0.0, scale=1.0, spacing=(1.0, 1.0))
    if cls is TotalVariation:
        fixed = replace(fixed, data="gaussian", gain=1.0, lowest=0.0)
    sample = Sample(torch.ones(10, 10), ((0, 1), (0, 10), (0, 10)), 0, 0, blur, Facts())
    with pytest.raises(ValueError, match="richardson-lucy-tv"):
        fixed.resolved([sample])
    with pytest.raises(ValueError, match="richardson-lucy-tv"):
        fixed(torch.ones(10, 10), blur)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: TotalVariation(weight=0.0), "weight is 0.0"),
        (lambda: TotalVariation(iterations=0), "iterations is 0"),
        (lambda: TotalVariation(data="normal"), "data is 'normal'"),
        (lambda: TotalVariation(gain=0.0), "gain is 0.0"),
        (lambda: HyperLaplacian(noise=-1.0), "noise is -1.0"),
        (lambda: HyperLaplacian(power=1.5), "power is 1.5"),
        (lambda: HyperLaplacian(spacing=(1.0, 0.0)), "spacing is"),
    ],
)
def test_impossible_parameters_are_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()
