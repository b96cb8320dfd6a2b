"""Numbers that the program decides unless they are given."""

import pytest
from qtpy.QtGui import QValidator

from napari_deblur import registry
from napari_deblur._napari.auto_row import AutoRow, kind_of, limits
from napari_deblur._napari.form import form_of, value_of


@pytest.fixture
def make(qtbot):
    def row(method, name):
        cls = registry.methods[method]
        form = form_of(cls)
        made = AutoRow(form[name], cls, kind_of(cls, name))
        qtbot.addWidget(made)
        return form, made, lambda: getattr(value_of(form, cls), name)

    return row


def test_one_number_or_auto_has_a_box_and_nothing_else_has():
    lucy, variation = registry.methods["richardson-lucy"], registry.methods["total-variation"]
    assert kind_of(lucy, "iterations") is int
    assert kind_of(lucy, "background") is float
    assert kind_of(variation, "spacing") is None  # several numbers
    assert kind_of(variation, "data") is None  # words
    assert kind_of(registry.methods["blind"], "seed") is None


@pytest.mark.parametrize(
    ("method", "name", "kind", "low", "high"),
    [
        ("richardson-lucy", "iterations", int, 1, 10_000),
        ("wavelet", "levels", int, 1, 8),
        ("blind-sparse", "refinements", int, 0, 10_000),
        ("wavelet", "noise", float, 0, 1e9),
        ("wavelet", "background", float, -1e9, 1e9),
    ],
)
def test_the_bounds_are_what_the_class_takes(method, name, kind, low, high):
    assert limits(registry.methods[method], name, kind) == (low, high)


def test_a_bound_that_is_excluded_is_nearly_reached():
    low = limits(registry.methods["tikhonov"], "weight", float)[0]
    assert 0 < low < 1e-9
    assert limits(registry.methods["richardson-lucy-tv"], "weight", float)[1] > 0.1


def test_the_tick_and_the_box_are_the_value(make):
    form, row, value = make("richardson-lucy", "iterations")
    assert row.auto.isChecked()
    assert row.number.isHidden()
    assert value() == "auto"
    row.auto.setChecked(False)
    row.number.setValue(33)
    assert value() == 33
    assert type(value()) is int
    row.number.setValue(0)
    assert value() == 1
    form["iterations"].value = "7"
    assert row.number.value() == 7
    form["iterations"].value = "auto"
    assert row.auto.isChecked()
    form["iterations"].value = "many"
    with pytest.raises(ValueError, match='iterations is "many"'):
        value()


def test_small_numbers_and_commas_can_be_typed(make):
    _, row, value = make("tikhonov", "weight")
    row.auto.setChecked(False)
    for text, number in (("2.5e-05", 2.5e-5), ("0,125", 0.125), ("1234.5", 1234.5)):
        row.number.lineEdit().setText(text)
        row.number.interpretText()
        assert value() == number
        assert row.number.text() == f"{number:.10g}"
    states = [row.number.validate(text, 0)[0] for text in ("-1", "1e", "x")]
    assert states == [
        QValidator.State.Intermediate, QValidator.State.Intermediate, QValidator.State.Invalid
    ]  # fmt: skip


def test_what_was_decided_is_said_and_is_where_one_begins(make):
    _, row, value = make("richardson-lucy", "iterations")
    row.decided(29)
    assert row.auto.text() == "auto: 29"
    assert value() == "auto"
    row.auto.setChecked(False)
    assert value() == 29
    row.forget()
    assert row.auto.text() == "auto"


def test_while_it_is_typed_a_number_is_no_other_one(make, qtbot):
    form, row, value = make("wavelet", "noise")
    row.auto.setChecked(False)
    seen = []
    form["noise"].changed.connect(seen.append)
    row.number.selectAll()
    qtbot.keyClicks(row.number, "0.03")
    assert seen == []
    row.settle()
    assert value() == 0.03


def test_a_number_out_of_bounds_becomes_the_nearest(make, qtbot):
    _, row, value = make("wavelet", "noise")
    row.auto.setChecked(False)
    row.number.selectAll()
    qtbot.keyClicks(row.number, "-3")
    row.settle()
    assert value() == 0.0


def test_another_image_has_its_own_counts(make):
    _, row, value = make("richardson-lucy", "background")
    row.auto.setChecked(False)
    row.number.setValue(112)
    row.leave()
    assert value() == "auto"
    row.auto.setChecked(False)
    assert value() == 1.0


def test_what_differs_from_channel_to_channel_is_said_as_a_range(make):
    _, row, _ = make("richardson-lucy", "iterations")
    row.decided(18, 12, 15)
    assert row.auto.text() == "auto: 12 … 18"
    assert row.number.value() == 18  # of the channel that is looked at
    row.decided(18, 18)
    assert row.auto.text() == "auto: 18"


def test_only_channels_with_the_method_of_the_form_are_asked(qtbot):
    from napari_deblur._napari.advanced import Advanced

    advanced = Advanced()
    qtbot.addWidget(advanced)
    advanced.show_method("richardson-lucy", "psf")
    lucy, other = (registry.methods[n] for n in ("richardson-lucy", "wiener"))
    advanced.show_decided([other(), lucy(iterations=30), lucy(iterations=25)])
    row = advanced._autos["richardson-lucy"]["iterations"]
    assert row.auto.text() == "auto: 25 … 30"
    assert advanced._autos["richardson-lucy"]["background"].auto.text() == "auto"  # not decided
