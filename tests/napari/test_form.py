"""Dataclasses as forms."""

from dataclasses import dataclass, fields
from typing import Annotated, Literal

import pytest

import napari_deblur as nd
from napari_deblur._napari.form import _tips, fill, form_of, summary_of, value_of
from napari_deblur._napari.number_box import FloatRow
from napari_deblur.psfs._stratified import Layers


@dataclass(frozen=True)
class Sharpen:
    """Sharpen it.

    Parameters
    ----------
    strength : float
        How much.
    low, high : float or "auto"
        The ends.
    mode : str
    sigma, both
        Of the noise.
    """

    strength: Annotated[float, {"min": 0, "max": 3, "label": "how much"}] = 1.5
    low: float | Literal["auto"] = "auto"
    high: float | Literal["auto"] = 2.0
    mode: Literal["fast", "good"] = "good"
    sigma: tuple[float, float, float] = (0.3, 0.1, 0.1)
    both: bool = True
    words: tuple[str, ...] = ()
    odd: complex | None = None

    def __post_init__(self):
        if self.low != "auto" and self.low < 0:
            raise ValueError("low must be 0 or more")


@pytest.mark.parametrize("cls", [nd.methods[n] for n in nd.methods] + [Sharpen], ids=str)
def test_fresh_form_gives_the_defaults(qapp, cls):
    assert value_of(form_of(cls), cls) == cls()
    assert summary_of(cls)


def test_form_is_filled_and_read(qapp):
    thing = Sharpen(2.5, 1.0, "auto", "fast", (1.0, 2.0, 3.0), False, ("here", "there"))
    form = form_of(Sharpen)
    fill(form, thing)
    assert value_of(form, Sharpen) == thing


def test_labels_limits_and_tips_come_from_the_class(qapp):
    form = form_of(Sharpen)
    assert form["strength"].label == "how much"
    assert form["strength"].max == 3
    assert form["strength"].tooltip == "How much."
    assert form["low"].tooltip == form["high"].tooltip == "The ends."
    assert form["sigma"].tooltip == form["both"].tooltip == "Of the noise."


def test_models_with_layers_say_the_same_of_what_they_share():
    models = [nd.psfs[name] for name in nd.psfs if issubclass(nd.psfs[name], Layers)]
    assert len(models) == 5
    for field in fields(Layers):
        assert len({_tips(model)[field.name] for model in models}) == 1


@pytest.mark.parametrize("cls", [nd.psfs[n] for n in nd.psfs], ids=str)
def test_every_number_of_a_model_is_explained_and_can_be_typed(qapp, cls):
    form = form_of(cls)
    for row in form:
        assert row.tooltip, row.name
        if isinstance(row, FloatRow):
            for text in ("1.3337", "2.00004"):
                row.native.lineEdit().setText(text)
                assert row.value == float(text)
                assert row.native.lineEdit().text() == text


def test_several_numbers_are_a_line(qapp):
    form = form_of(nd.psfs["gaussian"])
    assert form["sigma"].value == "0.3, 0.1, 0.1"
    form["sigma"].value = "0.3057, 0.08153, 0.08153"
    assert value_of(form, nd.psfs["gaussian"]).sigma == (0.3057, 0.08153, 0.08153)
    form["sigma"].value = "0.2"
    assert value_of(form, nd.psfs["gaussian"]).sigma == (0.2, 0.2, 0.2)
    form["sigma"].value = "0.2, 0.1"
    with pytest.raises(ValueError, match="has 2 numbers: give 3 with commas"):
        value_of(form, nd.psfs["gaussian"])


def test_limits_of_optics_are_those_of_lenses(qapp):
    form = form_of(nd.psfs["light-sheet"])
    assert (form["n_sample"].min, form["n_sample"].max) == (1, 4)
    assert form["working_distance"].max >= 20_000  # of the objective 5x/0.15
    form["offset"].value = -3.0
    assert form["offset"].value == -3
    form["depth"].value = 0.0
    form["depth"].native.stepBy(1)
    assert form["depth"].value == 0.1


def test_auto_is_auto_and_a_number_is_a_number(qapp):
    form = form_of(Sharpen)
    for text, value in [("", "auto"), (" AUTO ", "auto"), ("3", 3.0), ("1e-2", 0.01)]:
        form["low"].value = text
        got = value_of(form, Sharpen).low
        assert got == value
        assert type(got) is type(value)


def test_words_are_typed_with_commas(qapp):
    form = form_of(Sharpen)
    assert form["words"].value == ""
    form["words"].value = "here,  there ,"
    assert value_of(form, Sharpen).words == ("here", "there")


def test_nonsense_is_named(qapp):
    form = form_of(Sharpen)
    form["low"].value = "much"
    with pytest.raises(ValueError, match='low is "much": give a number or auto'):
        value_of(form, Sharpen)
    form["low"].value = "-1"
    with pytest.raises(ValueError, match="low must be 0 or more"):
        value_of(form, Sharpen)
    form["low"].value = "1,5"
    with pytest.raises(ValueError, match='low is "1,5": give one number, with a point'):
        value_of(form, Sharpen)
