import numpy as np
import pytest

from napari_deblur.facts import facts_of, saturation_of
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
