import numpy as np
import pytest
import torch

from napari_deblur import ops
from napari_deblur.ops.held_out import best_stop, hold_out, no_light
from napari_deblur.protocols import Blur, Facts, Sample
from napari_deblur.testing import kernel_of


def photons(mean, *, gain=1.0, offset=0.0, seed=0, blur=None):
    random = np.random.default_rng(seed)
    counts = random.poisson(mean) * gain + offset
    tile = torch.from_numpy(counts.astype(np.float32))
    facts = Facts(gain=gain, offset=offset, noise=gain * float(np.min(mean)) ** 0.5)
    region = tuple((0, n) for n in (1, 1, 1, *tile.shape)[-3:])
    return Sample(tile, region, 0, 0, blur, facts)


def lump(shape=(200, 200), peak=200.0):
    y, x = np.meshgrid(*(np.linspace(-2, 2, n) for n in shape), indexing="ij")
    return 5 + peak * np.exp(-(y**2) - x**2)


@pytest.mark.parametrize(("gain", "offset"), [(1.0, 0.0), (2.5, 100.0)])
def test_the_two_parts_are_independent_and_have_the_mean_of_the_whole(gain, offset):
    mean = lump()
    (part,) = hold_out([photons(mean, gain=gain, offset=offset)], share=0.75)
    kept, held = part.sample.tile.numpy(), part.held.numpy()
    light = mean * gain + offset
    # Of 40,000 pixels with at most 205 photons the mean is known to 0.1.
    assert abs((kept - light).mean()) < 0.3 * gain
    assert abs((held / part.scale + part.shift - light).mean()) < 0.5 * gain
    # Independent noise: the correlation of 40,000 pairs is within 0.02 of 0.
    residues = (kept - light) / np.sqrt(mean), (held - 0.25 * mean) / np.sqrt(mean)
    assert abs(np.corrcoef(*(r.ravel() for r in residues))[0, 1]) < 0.02
    # And each has the variance of photons.
    assert part.sample.facts.gain == pytest.approx(gain / 0.75)
    assert np.var(residues[0]) == pytest.approx(gain**2 / 0.75, rel=0.03)
    assert np.var(residues[1]) == pytest.approx(0.25, rel=0.03)


def test_normal_noise_is_split_in_two_independent_parts():
    random = np.random.default_rng(3)
    tile = torch.from_numpy((50 + 4 * random.standard_normal((200, 200))).astype(np.float32))
    sample = Sample(tile, ((0, 1), (0, 200), (0, 200)), 0, 0, None, Facts(noise=4.0))
    (part,) = hold_out([sample], share=0.75)
    residues = (part.sample.tile - 50).numpy().ravel(), (part.held - 50).numpy().ravel()
    assert abs(np.corrcoef(*residues)[0, 1]) < 0.02
    assert part.sample.facts.noise == pytest.approx(np.std(residues[0]), rel=0.02)
    assert part.noise == pytest.approx(np.std(residues[1]), rel=0.02)


@pytest.mark.parametrize("gain", [1.0, 3.0])
def test_the_truth_has_a_deviance_of_one_and_nothing_else_has_less(gain):
    mean = lump(peak=2000.0) + 100
    (part,) = hold_out([photons(mean, gain=gain)])
    truth = torch.from_numpy((mean * gain).astype(np.float32))
    assert part.deviance(truth) == pytest.approx(1.0, abs=0.03)
    for factor in (0.95, 1.05):
        assert part.deviance(truth * factor) > part.deviance(truth) + 0.05


def test_the_estimated_error_is_the_error_and_a_constant():
    # Objects that are wrong in one known way each: their estimated errors differ as the true ones.
    kernel = torch.from_numpy(kernel_of((9, 9)).at().copy())
    blur = Blur(kernel)
    random = np.random.default_rng(1)
    thing = torch.from_numpy(random.gamma(0.3, 300, (128, 128)).astype(np.float32))
    smooth = Blur(torch.from_numpy(kernel_of((9, 9), 2.0).at().copy()))
    thing = ops.blur(thing, smooth)
    seen = ops.blur(thing, blur)
    (part,) = hold_out([photons(seen.double().numpy() + 20, blur=blur)])
    wrongs = [torch.zeros_like(thing), 0.1 * thing, thing - thing.roll(1, 0)]
    errors, estimates = [], []
    for wrong in wrongs:
        errors.append(float(ops.crop(wrong, blur).square().mean()))
        estimates.append(part.error(ops.blur(thing + wrong, blur) + 20))
    # The window takes a third of the power away and the blur some of the finest detail.
    gained = (np.array(estimates) - estimates[0])[1:] / np.array(errors)[1:]
    assert gained == pytest.approx([gained.mean()] * 2, rel=0.15)
    assert 0.35 < gained.mean() < 1


def test_no_light_is_the_offset_less_the_read_noise():
    assert no_light(Facts(gain=2.0, offset=100.0, read_noise=6.0)) == 100 - 36 / 2
    # The counts above it, over the gain, have the variance of photons.
    random = np.random.default_rng(0)
    counts = 2 * random.poisson(30, 100_000) + 100 + 6 * random.standard_normal(100_000)
    light = (counts - 82) / 2
    assert light.var() == pytest.approx(light.mean(), rel=0.03)


def test_holes_stay_holes_and_have_no_say():
    sample = photons(lump(), blur=Blur(torch.ones(1, 3, 3) / 9))
    sample.tile[3:6, 7] = torch.nan
    (part,) = hold_out([sample])
    for tile in (part.sample.tile, part.held):
        assert torch.equal(tile.isnan(), sample.tile.isnan())
    predicted = torch.full_like(sample.tile, 50.0)
    assert np.isfinite([part.deviance(predicted), part.error(predicted)]).all()


def test_the_same_seed_splits_the_same_way():
    first, second = (hold_out([photons(lump())])[0].held for _ in range(2))
    other = hold_out([photons(lump())], seed=1)[0].held
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_a_run_stops_where_the_error_is_least_and_not_much_later():
    sample = photons(lump(), blur=Blur(ops.delta((3, 3))[None]))
    parts = hold_out([sample])
    truth = torch.from_numpy(lump().astype(np.float32))
    asked = []

    def run():
        for number in range(1, 1000):
            asked.append(number)
            yield truth * (1 + 0.02 * abs(number - 12))

    stop = best_stop(parts, [run()], most=500)
    assert stop.iterations == 12
    assert max(asked) == 20
    assert best_stop(parts, [run()], most=500, least=15).iterations == 15
    assert best_stop(parts, [run()], most=5).iterations == 5


@pytest.mark.parametrize(("shape", "size"), [((41, 43), (30, 33)), ((1, 127), (32, 96))])
def test_a_kernel_larger_than_the_sample_can_be_judged(shape, size):
    blur = Blur(torch.from_numpy(kernel_of(shape, 3.0).at().copy()))
    (part,) = hold_out([photons(lump(size), blur=blur)])
    assert np.isfinite(part.error(part.sample.tile))


def test_without_a_kernel_nothing_can_be_divided_out():
    (part,) = hold_out([photons(lump())])
    with pytest.raises(ValueError, match="the sample has none"):
        part.error(part.sample.tile)
