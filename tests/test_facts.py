import re

import numpy as np
import pytest
from scipy.ndimage import shift

from napari_deblur import per_channel
from napari_deblur.describing import of_camera
from napari_deblur.facts import facts_of, saturation_of
from napari_deblur.job import Job
from napari_deblur.ops.held_out import no_light
from napari_deblur.protocols import Facts
from napari_deblur.stack import Channel, Optics, Pixels, Stack


def test_given_beats_read_beats_estimated():
    random = np.random.default_rng(0)
    array = random.poisson(100, (64, 80)).astype(np.uint16)
    stack = Stack(
        Pixels(array, "yx"),
        "yx",
        channels=(Channel(emission=0.52),),
        optics=Optics(na=1.2, n_immersion=1.33),
    )
    facts = facts_of(stack, 0, [array], Facts(na=1.4, background=90.0))
    assert (facts.na, facts.wavelength, facts.background) == (1.4, 0.52, 90.0)
    assert facts.origins["na"] == "given"
    assert facts.origins["wavelength"] == "read"
    assert facts.origins["white"] == "estimated"
    assert facts.noise == pytest.approx(10, rel=0.15)


@pytest.mark.parametrize(("bits", "dtype"), [(8, "u1"), (12, "u2"), (16, "u2")])
def test_a_pile_at_full_scale_is_saturation(bits, dtype):
    top = 2**bits - 1
    random = np.random.default_rng(1)
    counts = random.normal(top * 0.6, top * 0.3, (100, 100)).clip(0, top).astype(dtype)
    assert saturation_of([counts]) == top
    below = np.minimum(counts, top - 7)
    assert saturation_of([below]) is None
    assert saturation_of([counts.astype(np.float32)]) is None


def test_eight_bit_pictures_scaled_to_their_full_range_are_not_saturated():
    ramp = np.tile(np.arange(256, dtype=np.uint8), (50, 1))
    assert saturation_of([ramp]) is None


def photons(gain, offset, read_noise, *, peak=400.0, seed=2, dtype=np.uint16):
    """Count the light of smooth blobs; the read noise is in counts."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:200, :200]
    light = np.full((200, 200), 0.05 * peak)
    for _ in range(25):
        (a, b), width = random.integers(0, 200, 2), random.uniform(4, 12)
        bright = random.uniform(0.2, 1) * peak
        light += bright * np.exp(-((y - a) ** 2 + (x - b) ** 2) / (2 * width**2))
    counts = random.poisson(light) * gain + offset + random.normal(0, 1, light.shape) * read_noise
    return np.round(counts).clip(0).astype(dtype)


def facts(array, **given):
    stack = Stack(Pixels(array, "yx"), "yx")
    known = Facts().completed("given", **given)
    return facts_of(stack, 0, [array], known)


def test_an_unknown_camera_is_a_gain_above_a_zero():
    found = facts(photons(2.0, 100, 4.0))
    assert found.gain == pytest.approx(2, rel=0.15)
    assert found.read_noise == 0  # it looks like a smaller offset
    assert found.offset == pytest.approx(100 - 16 / 2, abs=6)
    assert no_light(found) == found.offset
    assert {found.origins[n] for n in ("gain", "offset", "read_noise")} == {"estimated"}


@pytest.mark.parametrize(
    "given",
    [
        {"gain": 2.0},
        {"offset": 100.0},
        {"read_noise": 4.0},
        {"gain": 2.0, "offset": 100.0},
        {"gain": 2.0, "read_noise": 4.0},
        {"offset": 100.0, "read_noise": 4.0},
        {"gain": 2.0, "offset": 100.0, "read_noise": 4.0},
    ],
    ids=" ".join,
)
def test_what_is_given_of_a_camera_is_completed(given):
    found = facts(photons(2.0, 100, 4.0), **given)
    for name in ("gain", "offset", "read_noise"):
        assert found.origins[name] == ("given" if name in given else "estimated")
        if name in given:
            assert getattr(found, name) == given[name]
    assert found.gain == pytest.approx(2, rel=0.15)
    assert no_light(found) == pytest.approx(92, abs=6)


def test_a_full_camera_does_not_bend_the_line():
    array = np.minimum(photons(8.0, 100, 4.0, peak=800), 4095)
    found = facts(array)
    assert found.saturation == 4095
    assert found.gain == pytest.approx(8, rel=0.15)


def test_other_noise_has_no_gain():
    random = np.random.default_rng(4)
    light = photons(2.0, 100, 0.0).astype(float)
    smooth = np.cumsum(np.ones_like(light), axis=0)
    found = facts((smooth + random.normal(0, 3, light.shape)).astype(np.float32))
    assert (found.gain, found.offset, found.read_noise) == (None, None, None)
    assert found.noise == pytest.approx(3, rel=0.1)


def test_an_image_that_was_resampled_is_told():
    array = shift(photons(2.0, 100, 0.0).astype(np.float32), (0.5, 0.5), order=1)[2:, 2:]
    found = facts(array)
    assert found.gain == pytest.approx(1.7, rel=0.2)
    assert found.colour > 2
    assert found.origins["colour"] == "estimated"
    assert "photon noise, in an image that was filtered or resampled" in of_camera(found)
    assert facts(photons(2.0, 100, 0.0)).colour is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"gain": 0.0}, "gain is 0: give counts for a photon, above 0"),
        ({"gain": float("nan")}, "gain is nan: give counts for a photon"),
        ({"read_noise": -1.0}, "read noise is -1: give counts, 0 or more"),
        ({"offset": float("inf")}, "offset is inf: give a number of counts"),
        ({"background": float("nan")}, "background is nan: give a number of counts"),
    ],
)
def test_impossible_cameras_are_refused(given, said):
    with pytest.raises(ValueError, match=said):
        facts(photons(2.0, 100, 4.0), **given)
    with pytest.raises(ValueError, match=said):
        Job("cells.tif", **given)


def test_a_job_says_what_is_known_of_the_camera(tmp_path):
    job = Job("cells.tif", gain=2.0, offset=0.0, background=3.5)
    job.save(tmp_path / "job.toml")
    loaded = Job.load(tmp_path / "job.toml")
    known = per_channel.facts_of(loaded)
    assert known is not None
    assert (known.gain, known.offset, known.read_noise, known.background) == (2, 0, None, 3.5)
    assert set(known.origins.values()) == {"given"}
    assert "--gain 2.0 --offset 0.0" in job.command()
    assert per_channel.facts_of(Job("cells.tif")) is None


def test_a_camera_is_described_in_one_line():
    said = of_camera(facts(photons(2.0, 100, 0.0)))
    assert re.match(
        r"[12]\.\d+ counts per photon above \d+\.?\d* \(estimated\): photon noise", said
    )
    mixed = Facts(origins={"noise": "estimated"}).completed(
        "given", gain=2.0, offset=100.0, read_noise=3.0
    )
    assert of_camera(mixed) == (
        "2 counts per photon (given) above 100 (given), read noise 3 (given): photon noise"
    )
    assert of_camera(Facts().completed("estimated", noise=3.21, background=7.0)) == (
        "gain not known; normal noise of 3.21 counts (estimated); background 7 (estimated)"
    )
