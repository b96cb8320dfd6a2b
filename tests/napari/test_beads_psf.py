"""PSF from beads: points that lie on the beads, corrections by hand, the kernel and the table."""

import time

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Points
from scipy.special import erf

import napari_deblur as nd
from napari_deblur._napari import bead_points
from napari_deblur._napari.bead_table import BeadTable
from napari_deblur._napari.beads_psf import BeadsPsf
from napari_deblur._napari.reading import kernel_of, stack_of
from napari_deblur.beads import Bead, beads_to_kernel

SIZE = (0.3, 0.1, 0.1)
SHAPE, SIGMAS = (22, 90, 100), (1.5, 1.4, 1.4)
GOOD = [(10.2, 20.4, 20.1), (11.1, 21.3, 75.8), (10.7, 66.0, 22.6)]
PAIR = [(10.4, 62.0, 60.0), (10.4, 62.0, 70.5)]
SPATIAL = {"scale": SIZE, "units": "um", "axis_labels": ("z", "y", "x"), "translate": (5, 2, 3)}


@pytest.fixture(scope="module")
def image():
    rng = np.random.default_rng(0)
    light = np.zeros(SHAPE)
    for place in GOOD + PAIR:
        bead = np.ones(1)
        for axis, (n, s, c) in enumerate(zip(SHAPE, SIGMAS, place, strict=True)):
            line = np.diff(erf((np.arange(n + 1) - 0.5 - c) / (s * 2**0.5))) / 2
            bead = bead * (line / line.max()).reshape([-1 if a == axis else 1 for a in range(3)])
        light += 4000 * bead
    return rng.poisson(light + 10).astype(np.uint16)


def opened(qtbot, data, **kwargs):
    viewer = ViewerModel()
    viewer.add_image(data, name="beads", **{**SPATIAL, **kwargs})
    widget = BeadsPsf(viewer)
    qtbot.addWidget(widget)
    for event in (viewer.layers.events.inserted, viewer.layers.events.removed):
        event.connect(widget.reset_choices)
    widget.shape.setText("9, 21, 21")
    return viewer, widget


def press(qtbot, button, widget):
    button.click()
    qtbot.waitUntil(lambda: not widget.busy(), timeout=30_000)


@pytest.fixture
def found(image, qtbot):
    viewer, widget = opened(qtbot, image)
    press(qtbot, widget.find, widget)
    return viewer, widget


def near(places, points):
    places = np.array(places)[:, -np.shape(points)[1] :]
    return [int(np.abs(np.array(points) - p).sum(axis=1).argmin()) for p in places]


def test_beads_are_found_shown_and_averaged(found, image):
    viewer, widget = found
    kernel, report = beads_to_kernel(image, SIZE, shape=(9, 21, 21))
    np.testing.assert_array_equal(widget.kernel.array, kernel.array)
    assert "3 of 5 beads used; not used: 2 close" in widget.status.text()
    points = viewer.layers["beads of beads"]
    assert isinstance(points, Points)
    # On the beads, in the world: the image is scaled and moved.
    layer = viewer.layers["beads"]
    for n, bead in enumerate(report.beads):
        world = layer.data_to_world(bead.place)
        np.testing.assert_allclose(points.data_to_world(points.data[n]), world[1:])
    assert sorted(points.features["not_used"]) == ["", "", "", "close", "close"]
    for row in range(5):
        used = not points.features["not_used"][row]
        want = bead_points.USED if used else bead_points.LEFT
        np.testing.assert_allclose(points.border_color[row], want, atol=1e-6)
    assert widget.table.rowCount() == 5
    assert widget.table.item(4, 5).text() == "close"
    said = widget.widths.text()
    assert said.startswith(f"FWHM of the kernel z {report.fwhm[0]:.3f}, y")
    assert f"of the beads z {report.own[0]:.3f} ± {report.spread[0]:.3f}, y" in said
    assert [name for name, *_ in widget.picture.sections] == ["xy", "xz", "yz"]


def test_deleted_and_added_points_change_what_is_used(found, qtbot):
    viewer, widget = found
    points = widget.points
    first = near([GOOD[0]], points.data)[0]
    points.selected_data = {first}
    points.remove_selected()
    assert "press Recompute" in widget.status.text()
    # A click beside one of the beads that were too close; with a rejected one selected before.
    points.selected_data = {near([PAIR[1]], points.data)[0]}
    points.add(np.array(PAIR[0][1:]) + 0.8)
    press(qtbot, widget.again, widget)
    assert near([b.place for b in widget.report.used], GOOD + PAIR).count(0) == 0
    assert sorted(near([b.place for b in widget.report.used], GOOD + PAIR)) == [1, 2, 3]
    # The other of the pair is still shown, and not used; the one that was taken is no longer both.
    assert sorted(points.features["not_used"]) == ["", "", "", "close"]
    assert len(points.data) == widget.table.rowCount() == 4
    assert len([one for one in viewer.layers if isinstance(one, Points)]) == 1


def test_beads_are_taken_and_left_out_by_buttons(found, qtbot):
    _, widget = found
    row = near([PAIR[0]], widget.points.data)[0]
    widget.table.selectRow(row)
    assert set(widget.points.selected_data) == {row}
    assert widget.viewer.dims.point[0] == pytest.approx(5 + 0.3 * PAIR[0][0], abs=0.2)
    widget.use.click()
    widget.points.selected_data = {near([GOOD[1]], widget.points.data)[0]}
    widget.leave.click()
    press(qtbot, widget.again, widget)
    assert sorted(near([b.place for b in widget.report.used], GOOD + PAIR)) == [0, 2, 3]
    reasons = list(widget.points.features["not_used"])
    assert sorted(reasons) == ["", "", "", "by hand", "close"]
    # All that is shown is counted, also what was not used before.
    assert widget.status.text().startswith("3 of 5 beads used; not used: ")
    assert "1 close" in widget.status.text()
    assert "1 by hand" in widget.status.text()


def test_an_average_that_is_older_than_the_points_is_not_added(found, qtbot):
    viewer, widget = found
    widget.points.selected_data = {near([GOOD[1]], widget.points.data)[0]}
    widget.leave.click()
    assert not widget.add.isEnabled()
    assert widget.status.text() == "The points were changed: press Recompute."
    press(qtbot, widget.again, widget)
    assert widget.add.isEnabled()
    widget.add.click()
    assert viewer.layers["psf [beads of beads]"].metadata["deblur"]["kernel"]["used"] == 2
    widget.points.selected_data = {0}
    widget.points.remove_selected()
    assert not widget.add.isEnabled()
    press(qtbot, widget.again, widget)
    widget.diameter.setText("0.1")
    widget.diameter.textEdited.emit("0.1")
    assert not widget.add.isEnabled()
    assert widget.status.text() == "The numbers were changed: press Recompute."
    viewer.layers.remove(widget.points)
    assert not widget.add.isEnabled()
    press(qtbot, widget.find, widget)
    assert widget.add.isEnabled()


def test_what_was_corrected_by_hand_outlives_the_next_search(found, qtbot):
    viewer, widget = found
    press(qtbot, widget.find, widget)
    assert len(viewer.layers) == 2  # nothing was corrected: the same layer
    mine = widget.points
    mine.selected_data = {near([GOOD[0]], mine.data)[0]}
    mine.remove_selected()
    press(qtbot, widget.find, widget)
    assert mine in viewer.layers
    assert (len(mine.data), len(widget.points.data)) == (4, 5)
    assert widget.points.name == "beads of beads 2"
    # Those are listened to no more.
    mine.selected_data = {0}
    mine.remove_selected()
    assert widget.add.isEnabled()
    assert "Recompute" not in widget.status.text()


def test_beads_of_another_channel_have_points_of_their_own(image, qtbot):
    viewer, widget = opened(
        qtbot, np.stack([image, image[:, ::-1]]), scale=(1, *SIZE), translate=(0,) * 4,
        units=("pixel", "um", "um", "um"), axis_labels=tuple("czyx"),
    )  # fmt: skip
    viewer.dims.set_current_step(0, 0)
    press(qtbot, widget.find, widget)
    first = widget.points
    viewer.dims.set_current_step(0, 1)
    press(qtbot, widget.find, widget)
    assert widget.points is not first
    assert first in viewer.layers


def test_the_kernel_becomes_a_layer_that_is_one(found):
    viewer, widget = found
    widget.add.click()
    layer = viewer.layers["psf [beads of beads]"]
    np.testing.assert_allclose(kernel_of(layer).array, widget.kernel.array, atol=1e-7)
    assert layer.metadata["deblur"]["kernel"]["used"] == 3
    assert layer.extent.world[0][2] > viewer.layers["beads"].extent.world[1][2]
    widget.add.click()
    assert "psf [beads of beads] 2" in viewer.layers
    # Nothing is decided by the image: that takes its time.
    stack, method = stack_of(viewer.layers["beads"]), nd.methods["richardson-lucy"](iterations=2)
    plan = nd.plan(stack, method, kernel=kernel_of(layer), judge=False)
    assert plan.kernel.shape == widget.kernel.shape


def test_the_frame_and_channel_that_are_shown_are_taken(image, qtbot):
    empty = np.full(SHAPE, 10, np.uint16)
    viewer, widget = opened(
        qtbot, np.stack([np.stack([empty, empty]), np.stack([empty, image])]),
        scale=(1, 1, *SIZE), units=("s", "pixel", "um", "um", "um"),
        axis_labels=tuple("tczyx"), translate=(0,) * 5,
    )  # fmt: skip
    viewer.dims.set_current_step(0, 1)
    viewer.dims.set_current_step(1, 1)
    press(qtbot, widget.find, widget)
    assert len(widget.report.used) == 3
    viewer.dims.set_current_step(0, 0)
    viewer.dims.set_current_step(1, 0)
    press(qtbot, widget.again, widget)  # of the frame that they are of
    assert len(widget.report.used) == 3
    widget.table.selectRow(0)
    assert viewer.dims.current_step[:2] == (1, 1)


def test_points_of_a_turned_image_lie_on_its_beads(image, qtbot):
    turn = np.eye(3)
    turn[1:, 1:] = [[0.8, -0.6], [0.6, 0.8]]
    viewer, widget = opened(qtbot, image, rotate=turn)
    press(qtbot, widget.find, widget)
    layer = viewer.layers["beads"]
    for row, bead in zip(widget.points.data, widget.report.beads, strict=True):
        world = layer.data_to_world(bead.place)
        np.testing.assert_allclose(widget.points.data_to_world(row), world[1:])


def test_another_image_has_points_of_its_own(found, image, qtbot):
    viewer, widget = found
    first = widget.points
    other = viewer.add_image(image[:, ::-1], name="more", **SPATIAL)
    widget.layer.choose(other)
    press(qtbot, widget.find, widget)
    assert widget.points is not first
    assert first in viewer.layers
    assert {"beads of beads", "beads of more"} <= {one.name for one in viewer.layers}
    press(qtbot, widget.find, widget)
    assert len(viewer.layers) == 4


def test_one_plane(image, qtbot):
    _, widget = opened(qtbot, image[10], scale=SIZE[1:], axis_labels=("y", "x"), translate=(0, 0))
    widget.shape.setText("21, 21")
    press(qtbot, widget.find, widget)
    assert len(widget.report.used) == 3
    assert "z" not in widget.widths.text()
    press(qtbot, widget.again, widget)
    assert len(widget.report.used) == 3
    widget.add.click()
    assert widget.viewer.layers["psf [beads of beads]"].ndim == 2


def test_mistakes_are_said_plainly(image, qtbot, monkeypatch):
    from napari.utils import notifications

    said = []
    monkeypatch.setattr(notifications, "show_error", said.append)
    viewer, widget = opened(qtbot, np.full(SHAPE, 10, np.uint16))
    press(qtbot, widget.find, widget)
    assert "no beads were found" in said[-1]
    widget.size.lines["z"].setText("")
    widget.find.click()
    assert "voxel size along z is empty" in said[-1]
    widget.size.lines["z"].setText("0.3")
    widget.diameter.setText("small")
    widget.find.click()
    assert 'diameter is "small"' in said[-1]
    widget.diameter.setText("")
    viewer.layers[0].data = image
    press(qtbot, widget.find, widget)
    widget.points.selected_data = set(range(5))
    widget.leave.click()
    widget.again.click()
    qtbot.waitUntil(lambda: not widget.busy(), timeout=30_000)
    assert "no bead was chosen" in said[-1]
    viewer.layers.remove(widget.points)
    assert not widget.again.isEnabled()
    viewer.layers.remove("beads")
    assert not widget.find.isEnabled()


def test_a_long_table_is_filled_again_at_once(qtbot):
    table = BeadTable()
    qtbot.addWidget(table)
    table.show()
    beads = [Bead((1, 2, 3), 30.0, 1.0, (0.5, 0.2, 0.2))] * 300
    table.fill(beads)
    start = time.thread_time()
    table.fill(beads)
    assert time.thread_time() - start < 0.4
    assert table.rowCount() == 300


def test_the_table_as_text():
    beads = [Bead((1, 2, 3), 30.2, 1.0, (0.5, 0.2, 0.2)), Bead((1, 2, 9), 9.0, rejected="dim")]
    assert bead_points.tabbed(beads) == (
        "bead\tSNR\tFWHM z (µm)\tFWHM y (µm)\tFWHM x (µm)\tnot used\n"
        "1\t30\t0.500\t0.200\t0.200\t\n"
        "2\t9\t\t\t\tdim\n"
    )


def test_the_table_is_copied_with_mean_and_spread(found, qapp):
    _, widget = found
    widget.copy.click()
    lines = qapp.clipboard().text().splitlines()
    assert len(lines) == 1 + 5 + 2
    assert lines[-2].split("\t")[:3] == ["mean", "", f"{widget.report.own[0]:.3f}"]


def test_cancel(image, qtbot, monkeypatch):
    from napari_deblur import beads

    def endless(stack, between, **_):
        while True:
            between()

    monkeypatch.setattr(beads, "beads_to_kernel", endless)
    _, widget = opened(qtbot, image)
    widget.find.click()
    assert widget.busy()
    assert not widget.find.isEnabled()
    widget.cancel.click()
    qtbot.waitUntil(lambda: not widget.busy(), timeout=10_000)
    assert widget.status.text() == "Cancelled."
    assert widget.find.isEnabled()
