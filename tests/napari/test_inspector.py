"""The kernel inspector: which kernel is shown, its numbers, maps and files."""

import csv
import gc
import time

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from napari.layers import Image, Layer
from napari.utils.interactions import (
    mouse_move_callbacks,
    mouse_press_callbacks,
    mouse_release_callbacks,
)
from napari.utils.theme import get_theme
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QLabel, QPushButton

import napari_deblur as nd
from napari_deblur._napari.inspector import Inspector
from napari_deblur._napari.kernel_layers import asked_of, has_kernels, inspectable, width_layers
from napari_deblur._napari.local_kernels import Asked, every_kernel, local_kernel
from napari_deblur._napari.reader import get_reader
from napari_deblur.kernel_fields import KernelField
from napari_deblur.kernel_measures import measured
from napari_deblur.kernel_shapes import shapes_of
from napari_deblur.kernels import load_kernel
from napari_deblur.opening import open_stack
from napari_deblur.protocols import Facts, Kernel

FULL_WIDTH = 2.3548
PIXEL = (0.3, 0.1, 0.1)


def spot(sigma, n=15, long=None, angle=0.0):
    y, x = np.mgrid[:n, :n] - n // 2
    turn = np.deg2rad(angle)
    along = x * np.cos(turn) + y * np.sin(turn)
    across = y * np.cos(turn) - x * np.sin(turn)
    found = np.exp(-((along / (long or sigma)) ** 2 + (across / sigma) ** 2) / 2)
    return found / found.sum()


def run(path, array, axes, size=PIXEL, method="richardson-lucy", **asked):
    stack = open_stack(array, axes, size)
    if method == "richardson-lucy":
        method = nd.methods["richardson-lucy"](iterations=3)
    plan = nd.plan(stack, method, judge=False, **asked)
    for _ in nd.run(plan, path, stack):
        pass
    return path


def layers(path):
    return [Layer.create(*one) for one in get_reader(str(path))(str(path))]


@pytest.fixture(scope="module")
def counts():
    return np.random.default_rng(0).poisson(50, (2, 3, 4, 48, 64)).astype(np.uint16)


@pytest.fixture(scope="module")
def field():
    """Kernels that widen to the right, and turn."""
    sigmas = (1.0, 1.5, 2.0)
    basis = np.stack([spot(s, long=1.5 * s, angle=45) for s in sigmas])
    weights = np.eye(3)[:, None, None, :].repeat(2, axis=2)
    return KernelField(basis, ((1.5,), (8.0, 40.0), (0.0, 31.5, 63.0)), weights, pixel_size=PIXEL,
                       report={"doubt": "parts of the image want other widths"})  # fmt: skip


@pytest.fixture(scope="module")
def varying(tmp_path_factory, counts, field):
    path = tmp_path_factory.mktemp("field") / "a.deblur.zarr"
    return run(path, counts[0, 0], "zyx", kernel=field)


@pytest.fixture(scope="module")
def movie(tmp_path_factory, counts):
    """One kernel for each frame and channel."""
    array = np.array([[[spot(1 + 0.2 * t + 0.4 * c)] for c in range(3)] for t in range(2)])
    path = tmp_path_factory.mktemp("movie") / "b.deblur.zarr"
    return run(path, counts, "tczyx", kernel=Kernel(array, PIXEL))


@pytest.fixture
def inspect(qtbot):
    """A viewer model with layers, and the widget that shows what they hold."""

    def make(*added, chosen=None):
        viewer = ViewerModel()
        for layer in added:
            viewer.add_layer(layer)
        widget = Inspector(viewer)
        qtbot.addWidget(widget)
        viewer.layers.events.inserted.connect(widget.reset_choices)
        viewer.layers.events.removed.connect(widget.reset_choices)
        if chosen is not None:
            widget.layer_box.choose(chosen)
        return viewer, widget

    return make


def settled(qtbot, widget):
    """Wait until nothing is measured any more."""
    idle = lambda: not (widget.busy() or widget._stale or widget._jobs)  # noqa: E731
    qtbot.waitUntil(idle, timeout=60_000)


def test_which_layers_are_offered(layer, kernel_layer, varying):
    restored, kernels, *_ = layers(varying)
    assert has_kernels(restored)
    assert has_kernels(kernels)
    assert not has_kernels(layer)
    assert inspectable(kernel_layer)
    assert not inspectable(Image(np.zeros((1, 300, 300, 3), np.uint8), rgb=True))
    assert not inspectable(Layer.create(np.zeros((2, 2)), {}, "points"))


def test_a_layer_that_is_a_kernel_is_measured(qtbot, inspect, kernel_layer):
    _, widget = inspect(kernel_layer, chosen=kernel_layer)
    settled(qtbot, widget)
    found = widget.shown.found
    assert found == measured(Kernel.cleaned(kernel_layer.data, pixel_size=(1, 0.1, 0.1)))
    assert found.fwhm[2] == pytest.approx(0.2 * FULL_WIDTH, rel=0.02)
    assert "Not judged" in widget.view.verdict.text()
    assert "0.47" in widget.view.numbers.text()
    kernel_layer.data = spot(3.0, 21)  # it is looked at again
    qtbot.waitUntil(lambda: widget.shown.found.fwhm[2] > 0.6, timeout=5000)


def test_optics_can_be_typed(qtbot, inspect, kernel_layer):
    _, widget = inspect(kernel_layer, chosen=kernel_layer)
    settled(qtbot, widget)
    assert widget.shown.found.limit is None
    for name, text in (("na", "1.2"), ("wavelength", "0,52")):
        edit = widget.view.optics[name]
        edit.setText(text)
        edit.setModified(True)
        edit.editingFinished.emit()
    settled(qtbot, widget)
    assert widget.shown.found.limit[1] == pytest.approx(2 * 1.2 / 0.52)
    index = widget.view.optics["n_immersion"]
    index.setText("1.0")
    index.setModified(True)
    index.editingFinished.emit()
    settled(qtbot, widget)
    assert "no light enters" in widget.view.numbers.text()
    assert widget.shown.found.limit is None
    index.setText("water")
    index.setModified(True)
    index.editingFinished.emit()
    settled(qtbot, widget)
    assert "give a number" in widget.status.text()
    assert widget.view.known.isVisibleTo(widget)  # there it can be mended
    index.setText("1.33")
    index.setModified(True)
    index.editingFinished.emit()
    settled(qtbot, widget)
    assert widget.status.text() == ""
    assert widget.shown.found.limit is not None


def test_optics_are_those_of_the_result(counts, tmp_path):
    facts = {"na": 1.1, "wavelength": 0.6, "n_immersion": 1.33}
    path = run(tmp_path / "c.deblur.zarr", counts[0, 0, 0], "yx", PIXEL,
               kernel=Kernel(spot(1.5), PIXEL), facts=Facts(**facts))  # fmt: skip
    local = local_kernel(Asked(str(path), None, "c", (0, 0, 0, 5, 5)))
    assert {name: getattr(local.facts, name) for name in facts} == facts
    assert local.everywhere
    assert len(local.residuals) == 3


def test_what_a_layer_says_of_its_kernel_is_told(qtbot, inspect, kernel_layer):
    """Of kernels made from optics or beads, which are layers of no result."""
    report = {"psf": "gibson-lanni", "na": 1.2, "wavelength": 0.5, "n_immersion": 1.33,
              "doubt": "it is too narrow"}  # fmt: skip
    kernel_layer.metadata = {
        "deblur": {"kernel": report}, "kernel_pixel_size": (1.0, 0.05, 0.05)
    }  # fmt: skip
    _, widget = inspect(kernel_layer)
    settled(qtbot, widget)
    assert widget.shown.found.limit[1] == pytest.approx(2 * 1.2 / 0.5)
    assert widget.view.optics["na"].text() == "1.2"
    assert "Doubtful: it is too narrow." in widget.view.verdict.text()
    assert widget.shown.found.fwhm[2] == pytest.approx(0.1 * FULL_WIDTH, rel=0.02)
    assert "gibson-lanni" in widget.view.numbers.text()


def test_charts_leave_out_what_cannot_be_drawn(qtbot):
    from napari_deblur._napari.plots import LineChart, SectionView, look_of

    chart = LineChart("loss", "iteration", "loss", log=True)
    qtbot.addWidget(chart)
    chart.show({"training": ([1, 2, 3, 4], [1.0, np.nan, 0.0, 0.5]), "validation": ([], [])})
    np.testing.assert_array_equal(chart.curves["training"], [(1, 4), (1.0, 0.5)])
    chart.restyle(look_of("light"))
    assert set(chart.curves) == {"training", "validation"}
    view = SectionView("kernel")
    qtbot.addWidget(view)
    view.show([("xy", np.zeros((5, 5)), (1.0, 1.0))], "px")  # no light, no error


def test_a_click_shows_the_kernel_of_its_place(qtbot, inspect, varying, field):
    restored, kernels, *_ = layers(varying)
    for layer in (restored, kernels):
        layer.translate = np.add(layer.translate, (0, 5.0, 7.0))
    viewer, widget = inspect(restored, kernels)
    assert widget.layer_box.layer in (restored, kernels)
    viewer.dims.set_current_step(0, 2)
    world = restored.data_to_world((2, 12, 50))
    widget.look_at(tuple(world))
    settled(qtbot, widget)
    assert widget.shown.asked.place == (0, 0, 2, 12, 50)
    expected = Kernel(field.kernel_at((2, 12, 50)), PIXEL)
    assert widget.shown.found == measured(expected)
    assert "y 12, x 50" in widget.view.where.text()
    assert "Doubtful: parts of the image want other widths." in widget.view.verdict.text()
    viewer.dims.set_current_step(0, 1)  # the place stays, its plane follows
    settled(qtbot, widget)
    assert widget.shown.asked.place == (0, 0, 1, 12, 50)
    widget.look_at((0.0, -1000.0, 0.0))
    assert "no restored image" in widget.status.text()


class Click:
    """What napari tells of the mouse, as far as it is looked at."""

    def __init__(self, world, pos=(10, 10), button=1):
        self.type, self.button, self.pos, self.position = "mouse_press", button, pos, world
        self.is_dragging, self.modifiers = True, ()

    def on(self, viewer, moved=(0, 0)):
        mouse_press_callbacks(viewer, self)
        self.type, self.pos = "mouse_move", tuple(np.add(self.pos, moved))
        mouse_move_callbacks(viewer, self)
        self.type = "mouse_release"
        mouse_release_callbacks(viewer, self)


def test_picking_with_the_mouse(qtbot, inspect, varying):
    restored, kernels, *_ = layers(varying)
    viewer, widget = inspect(restored, kernels)
    settled(qtbot, widget)
    place = lambda: widget.shown.asked.place[3:]  # noqa: E731
    begun = place()
    world = tuple(restored.data_to_world((2, 5, 6)))
    Click(world).on(viewer)
    settled(qtbot, widget)
    assert place() == begun  # not before the button is down
    widget.pick.click()
    Click(world).on(viewer, moved=(50, 0))  # a drag moves the picture
    Click(world, button=2).on(viewer)
    settled(qtbot, widget)
    assert place() == begun
    Click(world).on(viewer, moved=(1, 1))
    settled(qtbot, widget)
    assert place() == (5, 6)
    viewer.dims.ndisplay = 3
    Click(world).on(viewer)
    assert "no depth" in widget.status.text()
    widget.pick.click()
    assert widget._click not in viewer.mouse_drag_callbacks


def test_sliders_choose_frame_and_channel(qtbot, inspect, movie):
    restored, kernels = layers(movie)
    viewer, widget = inspect(restored, kernels, chosen=kernels)
    for t, c in ((0, 0), (1, 2), (0, 1)):
        viewer.dims.set_current_step((0, 1), (t, c))
        settled(qtbot, widget)
        assert widget.shown.asked.place[:2] == (t, c)
        wide = (1 + 0.2 * t + 0.4 * c) * 0.1 * FULL_WIDTH
        assert widget.shown.found.fwhm[2] == pytest.approx(wide, rel=0.02)
        assert f"frame {t}, channel {c}" in widget.view.where.text()
    viewer.layers.remove(restored)  # the kernels' own sliders do as well
    viewer.dims.set_current_step((0, 1), (1, 1))
    settled(qtbot, widget)
    assert widget.shown.asked.place[:2] == (1, 1)


def test_tiles_have_their_own_kernels(counts, tmp_path):
    method = nd.methods["blind-richardson-lucy"](iterations=2, rounds=1, steps=1)
    path = run(tmp_path / "d.deblur.zarr", counts[0, 0], "zyx", PIXEL, method, scope="tile",
               shape=(1, 5, 5), tile=(4, 24, 32), accept_seam=True)  # fmt: skip
    kernels, places = every_kernel(str(path), 0, 0)
    assert [tuple(p) for p in places] == [(1.5, y, x) for y in (11.5, 35.5) for x in (15.5, 47.5)]
    local = local_kernel(Asked(str(path), None, "d", (0, 0, 1, 30, 5)))
    np.testing.assert_array_equal(local.kernel.array, kernels[2].array)
    assert local.where == "kernel of the tile z 0–3, y 24–47, x 0–31"
    assert not local.everywhere


def test_widths_lie_over_their_nodes(varying, field):
    restored, *_ = layers(varying)
    restored.translate = (1.0, 5.0, 7.0)
    shapes = shapes_of(*every_kernel(str(varying), 0, 0))
    (bars, lines, kind), (spots, dots, _) = width_layers(shapes, restored, "a", PIXEL, 0)
    assert kind == "vectors"
    assert bars.shape == (12, 2, 2)
    vectors, points = Layer.create(bars, lines, "vectors"), Layer.create(spots, dots, "points")
    for layer in (vectors, points):
        assert [str(u) for u in layer.units] == ["micrometer"] * 2
        assert layer.axis_labels == ("y", "x")
    node = restored.data_to_world((1.5, 40, 31.5))[1:]
    np.testing.assert_allclose(points.data_to_world(spots[4]), node)
    # The longer bar lies around its node, along 45°, as long as the width times the factor.
    start, way = bars[8]
    np.testing.assert_allclose(start + way / 2, (40, 31.5))
    times = lines["metadata"]["times"]
    long = shapes.ellipses[4].major
    assert np.hypot(*way) * 0.1 == pytest.approx(long * times, rel=1e-3)
    assert abs(way[0]) == pytest.approx(abs(way[1]), rel=0.05)
    assert way[0] * way[1] > 0
    assert long == pytest.approx(1.5 * 1.5 * 0.1 * FULL_WIDTH, rel=0.02)
    assert max(np.hypot(*one[1]) for one in bars) < 31.5


def test_planes_show_the_nodes_next_to_them(counts, tmp_path):
    basis = np.stack([spot(1.0), spot(2.0)])
    weights = np.eye(2)[:, :, None, None]
    field = KernelField(basis, ((0.0, 3.0), (24.0,), (32.0,)), weights, pixel_size=PIXEL)
    path = run(tmp_path / "e.deblur.zarr", counts[0, 0], "zyx", kernel=field)
    restored, *_ = layers(path)
    shapes = shapes_of(*every_kernel(str(path), 0, 0))
    (bars, lines, _), (spots, dots, _) = width_layers(shapes, restored, "e", PIXEL, 0)
    np.testing.assert_array_equal(spots, [(z, 24, 32) for z in range(4)])
    wide = dots["features"]["width"]
    assert wide[0] == wide[1] < wide[2] == wide[3]
    np.testing.assert_array_equal(bars[:, 0, 0], np.repeat(range(4), 2))
    Layer.create(bars, lines, "vectors")


def test_map_and_files_from_the_widget(qtbot, inspect, varying, field, tmp_path):
    restored, kernels, *_ = layers(varying)
    viewer, widget = inspect(restored, kernels)
    settled(qtbot, widget)
    for _ in range(2):  # the second replaces the first
        widget.map.click()
        settled(qtbot, widget)
    assert [type(one).__name__ for one in viewer.layers] == ["Image", "Image", "Vectors", "Points"]
    assert "6 kernels" in widget.status.text()
    for name in ("k.tif", "k.csv", "k.png"):
        widget.save(tmp_path / name)
        settled(qtbot, widget)
        assert "Saved" in widget.status.text()
    saved = load_kernel(tmp_path / "k.tif")
    np.testing.assert_allclose(saved.array, widget.shown.local.kernel.array)
    assert saved.pixel_size == pytest.approx(PIXEL)
    assert tifffile.imread(tmp_path / "k.tif").shape == (15, 15)
    with (tmp_path / "k.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 7
    assert float(rows[0]["fwhm_x"]) == widget.shown.found.fwhm[2]
    third = measured(Kernel(field.kernels()[0, 0, 2], PIXEL))
    assert float(rows[3]["fwhm_x"]) == pytest.approx(third.fwhm[2], rel=1e-4)
    assert float(rows[3]["x"]) == 63.0
    assert (tmp_path / "k.png").stat().st_size > 10_000


def test_sentences_go_when_they_no_longer_hold(qtbot, inspect, varying, kernel_layer):
    restored, kernels, *_ = layers(varying)
    _, widget = inspect(restored, kernels, kernel_layer)
    settled(qtbot, widget)
    widget.look_at((0.0, -1000.0, 0.0))
    assert "no restored image" in widget.status.text()
    widget.look_at(tuple(restored.data_to_world((2, 12, 50))))
    settled(qtbot, widget)
    assert widget.status.text() == ""
    widget.pick.click()
    assert widget.status.text() == "Click on a restored image."
    widget.pick.click()
    assert widget.status.text() == ""
    widget.map.click()
    settled(qtbot, widget)
    assert "6 kernels" in widget.status.text()
    widget.renew()  # as by a layer that is added: the same kernel is shown
    settled(qtbot, widget)
    assert "6 kernels" in widget.status.text()
    widget.look_at((0.0, -1000.0, 0.0))
    widget.layer_box.choose(kernel_layer)
    settled(qtbot, widget)
    assert widget.status.text() == ""


def test_the_map_says_why_there_is_none(qtbot, inspect, varying, movie, kernel_layer):
    restored, kernels, *_ = layers(varying)
    viewer, widget = inspect(*layers(movie), kernel_layer)
    for chosen, why in ((viewer.layers[1], "One kernel holds for the whole channel"),
                        (kernel_layer, "This layer is one kernel")):  # fmt: skip
        widget.layer_box.choose(chosen)
        settled(qtbot, widget)
        assert not widget.map.isEnabled()
        assert widget.map.toolTip().startswith(why)
    viewer.layers.clear()
    settled(qtbot, widget)
    assert widget.map.toolTip().startswith("Nothing is shown")
    viewer.add_layer(kernels)
    settled(qtbot, widget)
    assert widget.map.toolTip().startswith("The restored image is not open")
    viewer.add_layer(restored)
    settled(qtbot, widget)
    assert widget.map.isEnabled()
    assert "widths and directions" in widget.map.toolTip()


def test_a_kernel_for_all_has_no_map(qtbot, inspect, movie, monkeypatch):
    from napari.utils import notifications

    shown = []
    monkeypatch.setattr(notifications, "show_error", shown.append)
    restored, kernels = layers(movie)
    _, widget = inspect(restored, kernels)
    settled(qtbot, widget)
    widget.add_map()
    settled(qtbot, widget)
    assert "One kernel holds for the whole channel" in widget.status.text()
    assert shown == []
    widget.save("kernel.jpeg")
    settled(qtbot, widget)
    assert "should end in .tif" in shown[0]


def test_a_result_that_is_gone_is_said(qtbot, inspect, counts, tmp_path):
    path = run(tmp_path / "f.deblur.zarr", counts[0, 0, 0], "yx", kernel=Kernel(spot(1), PIXEL))
    restored, kernels = layers(path)
    path.rename(tmp_path / "g.deblur.zarr")
    _, widget = inspect(restored, kernels)
    settled(qtbot, widget)
    assert "is gone: open it again" in widget.view.where.text()
    assert widget.shown is None


def test_nothing_is_chosen_where_nothing_is_a_kernel(qtbot, inspect, layer, kernel_layer):
    viewer, widget = inspect(layer)
    settled(qtbot, widget)
    assert widget.layer_box.layer is None
    assert "Choose a layer" in widget.view.where.text()
    widget.save("kernel.tif")
    settled(qtbot, widget)
    assert "Nothing is shown" in widget.status.text()
    kernel_layer.metadata["kernel_pixel_size"] = (1.0, 0.1, 0.1)
    viewer.add_layer(kernel_layer)
    settled(qtbot, widget)
    assert widget.shown is not None
    viewer.layers.remove(kernel_layer)
    settled(qtbot, widget)
    assert widget.shown is None


def test_place_is_asked_without_reading_pixels(varying, monkeypatch):
    restored, kernels, *_ = layers(varying)
    viewer = ViewerModel()
    viewer.add_layer(restored)
    viewer.add_layer(kernels)
    asked = asked_of(viewer, kernels)
    assert asked.store == str(varying)
    assert asked.place[3:] == (24, 32)


def clipped(widget):
    """Give the texts that are wider than what shows them."""
    found = []
    for one in [*widget.findChildren(QLabel), *widget.findChildren(QPushButton)]:
        if not one.isVisible() or not one.text() or "<" in one.text():
            continue
        wraps = isinstance(one, QLabel) and one.wordWrap()
        words = one.text().split() if wraps else [one.text()]
        wide = max(one.fontMetrics().horizontalAdvance(word) for word in words)
        if wide > one.width():
            found.append(one.text())
    return found


def test_in_a_window(make_napari_viewer_proxy, qtbot, movie):
    viewer = make_napari_viewer_proxy(show=True)
    viewer.open(str(movie), plugin="napari-deblur")
    dock, widget = viewer.window.add_plugin_dock_widget("napari-deblur", "Kernel inspector")
    settled(qtbot, widget)
    assert widget.width() < 360
    for theme in ("dark", "light"):
        viewer.theme = theme
        qtbot.wait(50)
        assert widget.view.sections.look.ground == str(get_theme(theme).background)
        assert not clipped(widget)
    gc.collect()
    gc.disable()
    # Time of this thread alone: on a busy machine the others' would count.
    beats, timer = [time.thread_time()], QTimer()
    timer.timeout.connect(lambda: beats.append(time.thread_time()))
    timer.start(5)
    for step in range(6):
        viewer.dims.set_current_step(0, step % 2)
        qtbot.wait(80)
    settled(qtbot, widget)
    timer.stop()
    gc.enable()
    assert np.diff(beats).max() < 0.2
    assert widget.shown.asked.place[0] == 1
    assert widget.shown.found == measured(widget.shown.local.kernel)
    widget.pick.click()
    viewer.window.remove_dock_widget(dock)
    qtbot.waitUntil(lambda: not widget.pick.isChecked())
