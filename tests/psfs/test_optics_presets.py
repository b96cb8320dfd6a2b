"""Objectives and fluorophores by name, and sentences about sampling."""

import re

import pytest

from napari_deblur.optics import (
    fluorophore,
    fluorophores,
    objective,
    objectives,
    sampling_advice,
    sampling_limits,
)
from napari_deblur.psfs.vectorial import Vectorial


def test_every_objective_makes_a_model():
    for lens in objectives().values():
        model = Vectorial(na=lens.na, wavelength=0.52, n_immersion=lens.n_immersion)
        assert model((1, 5, 5), (0.2, 0.1, 0.1)).at().sum() == pytest.approx(1, abs=1e-5)
        assert lens.working_distance > 100
        assert lens.name.startswith(f"{lens.magnification:g}x/{lens.na:.2f} {lens.immersion}")


def test_every_fluorophore_emits_longer_waves_than_it_takes():
    for dye in fluorophores().values():
        assert 0.3 < dye.excitation < dye.emission < 0.8


@pytest.mark.parametrize("name", ["60x/1.40 oil", "60X 1.4 Oil", "60×/1.4 oil"])
def test_an_objective_is_found_however_it_is_written(name):
    assert (objective(name).na, objective(name).n_immersion) == (1.4, 1.515)


def test_the_beginning_of_a_name_is_enough_where_one_alone_begins_so():
    assert objective("60x/1.40") == objective("60x/1.40 oil")
    assert objective("16x") == objective("16x/0.80 water dipping")
    with pytest.raises(KeyError, match=r'no objective "60x"; there are'):
        objective("60x")
    with pytest.raises(KeyError, match='no objective ""'):
        objective("")


def test_a_name_that_is_not_there_tells_which_come_near():
    assert fluorophore("alexa-fluor 488") == fluorophore("Alexa Fluor 488")
    with pytest.raises(KeyError, match=r"there are: .*Alexa Fluor 488"):
        fluorophore("Alexa 488 nm")
    with pytest.raises(KeyError, match=r'no objective "61x/1.40 oil"; there are: .*60x/1.40 oil'):
        objective("61x/1.40 oil")


def test_the_limits_are_half_of_the_finest_period():
    assert sampling_limits(1.4, 0.52, 1.515) == pytest.approx((0.277, 0.0929), rel=1e-2)
    wide = sampling_limits(1.2, 0.5, 1.33)
    assert sampling_limits(1.2, 0.5, 1.33, "confocal") == pytest.approx([w / 2 for w in wide])
    assert sampling_limits(1.2, 0.5, 1.33, "light-sheet") == wide
    pair = sampling_limits(1.2, 0.5, 1.33, "two-photon", 1.0)
    assert pair == pytest.approx(wide)


def test_pixels_that_fit_are_not_talked_about():
    assert sampling_advice(1.4, 0.52, 1.515, (0.25, 0.09, 0.09)) == []
    assert sampling_advice(1.4, 0.52, 1.515, (None, None, None)) == []


@pytest.mark.parametrize(
    ("pixel_size", "kind", "said"),
    [
        ((0.2, 0.25, 0.25), "widefield", "pixels of 0.25 µm are 2.3 times too coarse for NA 1.2 "),
        ((1.0, 0.1, 0.1), "widefield", "planes 1 µm apart are 2.9 times too far apart for NA 1.2 "),
        ((0.2, 0.02, 0.02), "widefield", "pixels of 0.02 µm are 5.4 times finer than NA 1.2 at "),
        ((0.1, 0.1, 0.1), "confocal", "pixels of 0.1 µm are 1.8 times too coarse .*more zoom"),
    ],
)
def test_pixels_that_do_not_fit_are_in_plain_words(pixel_size, kind, said):
    found = sampling_advice(1.2, 0.52, 1.33, pixel_size, kind)
    assert re.match(said, found[0]), found
    assert len(found) == (2 if kind == "confocal" else 1)


def test_what_the_limits_need_is_said():
    with pytest.raises(ValueError, match=r"na is 1\.4 and n_immersion 1\.33"):
        sampling_limits(1.4, 0.5, 1.33)
    with pytest.raises(ValueError, match='kind is "sted"; there are: widefield'):
        sampling_limits(1.4, 0.5, 1.515, "sted")
    with pytest.raises(ValueError, match="depends on its excitation: give it"):
        sampling_limits(1.1, 0.5, 1.33, "two-photon")
