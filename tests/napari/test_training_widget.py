"""The widget Train, without a window but for one test, on tiny images."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image
from safetensors import safe_open

from napari_deblur._napari import settings
from napari_deblur._napari.history import History, said
from napari_deblur._napari.reading import stack_of
from napari_deblur._napari.samples import simulated
from napari_deblur._napari.teaching import Lesson, Teaching
from napari_deblur._napari.training_files import begun, folder_for, shift_between, written
from napari_deblur.opening import open_stack

PLACED = {"scale": (0.1, 0.1), "units": ("um", "um"), "axis_labels": ("y", "x")}
SMALL = Teaching(
    side=32, kernel=9, batch=1, objects=4, kernels=8, validate_every=50, photons_least=200.0
)


@pytest.fixture(autouse=True)
def trained(tmp_path, monkeypatch):
    """Keep trainings of these tests in their own folder."""
    monkeypatch.setattr(settings, "_TRAINED", tmp_path / "trained")
    return tmp_path / "trained"


@pytest.fixture
def sharp():
    return simulated(64)[1]


def _layer(data, name="sharp", **more):
    return Image(data, name=name, **{**PLACED, **more})


def _lesson(*layers, blurred=(), **more):
    stacks, others = ([stack_of(one) for one in some] for some in (layers, blurred))
    return Lesson(stacks, others, **{"teaching": SMALL, **more})


def _done(steps):
    """Give what a generator returns."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def test_layers_become_files_that_the_command_reads(tmp_path, sharp):
    from napari_deblur.training import sharp_images

    movie = Image(
        np.stack([sharp, sharp[::-1]])[:, None],
        name="a movie (2)",
        scale=(1, 1, 0.1, 0.1),
        units=("s", "pixel", "um", "um"),
        axis_labels=tuple("tcyx"),
    )
    lesson = _lesson(_layer(sharp), movie)
    assert lesson.summary() == '3 pieces of "sharp", "a movie (2)"'
    assert _done(written(lesson, tmp_path / "out")) == ""
    files = sorted(file.name for file in (tmp_path / "out" / "images" / "sharp").iterdir())
    assert files == [
        "a-movie-2-t0-c0-z0-y0-x0.tif",
        "a-movie-2-t1-c0-z0-y0-x0.tif",
        "sharp-t0-c0-z0-y0-x0.tif",
    ]
    found = sharp_images(tmp_path / "out" / "images" / "sharp", ["*.tif"])
    np.testing.assert_array_equal(found[1], sharp[::-1])
    text = (tmp_path / "out" / "settings.toml").read_text("utf-8")
    assert 'start = "light"' in text
    assert "[[pairs]]" not in text
    # The same folder again, as long as nothing was learned there; not one with other things.
    _done(written(_lesson(_layer(sharp)), tmp_path / "out"))
    assert len(list((tmp_path / "out" / "images" / "sharp").iterdir())) == 1
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    with pytest.raises(ValueError, match='"mine" holds other files'):
        _done(written(lesson, tmp_path / "mine"))
    assert folder_for("a movie (2)", tmp_path) == tmp_path / "a-movie-2"
    assert folder_for("mine", tmp_path) == tmp_path / "mine-2"


def test_large_and_strange_layers_are_cut_and_cleaned(tmp_path):
    wide = np.zeros((30, 600, 1500), np.float32)
    wide[:, ::7] = 1
    lesson = _lesson(Image(wide, name="wide", axis_labels=tuple("zyx")))
    pieces = lesson.pieces()
    assert len(pieces) == 60
    assert {region[2] for *_, region in pieces} == {(0, 750), (750, 1500)}
    many = _lesson(Image(np.broadcast_to(wide[:1], (1000, 600, 1500)), axis_labels=tuple("zyx")))
    assert len(many.pieces()) == 240
    colours = np.zeros((64, 64, 3), np.uint8)
    colours[..., 0] = 90
    holes = np.full((64, 64), 5.0)
    holes[0, 0], holes[1, 1] = np.nan, 2.0
    lesson = _lesson(_layer(colours, "photo", rgb=True), _layer(holes, "holes"))
    _done(written(lesson, tmp_path / "out"))
    import tifffile

    folder = tmp_path / "out" / "images" / "sharp"
    assert (tifffile.imread(folder / "photo-t0-c0-z0-y0-x0.tif") == 30).all()
    assert tifffile.imread(folder / "holes-t0-c0-z0-y0-x0.tif")[0, 0] == 2


def test_mistakes_are_told(sharp):
    with pytest.raises(ValueError, match='"sharp" has 64 × 64 pixels, and 126 × 126 are needed'):
        _lesson(_layer(sharp), teaching=Teaching())
    with pytest.raises(ValueError, match="voxel by voxel") as told:
        _lesson(_layer(sharp), blurred=[_layer(sharp[:60], "blurred")])
    assert '"blurred" has y 60 × x 64 and "sharp" has y 64 × x 64' in str(told.value)
    with pytest.raises(ValueError, match="take a multiple of 8 and an odd number"):
        replace(SMALL, side=33)
    with pytest.raises(ValueError, match="at most 16, or larger images"):
        replace(SMALL, kernel=17)


def test_pairs_that_lie_apart_are_told(tmp_path, sharp):
    blurred = simulated(64)[0]
    assert shift_between(blurred, sharp) == (0, 0)
    assert shift_between(blurred, np.roll(sharp, (3, -5), (0, 1))) == (3, -5)
    moved = _layer(np.roll(sharp, 4, 0), "sharp")
    note = _done(written(_lesson(moved, blurred=[_layer(blurred, "blurred")]), tmp_path / "out"))
    assert note.startswith("The sharp layer lies about 4 px along y and 0 px along x beside")
    text = (tmp_path / "out" / "settings.toml").read_text("utf-8")
    assert 'blurred = "images/blurred"' in text


def test_curves_of_a_log(tmp_path):
    lines = [
        {"iteration": 0, "loss": None, "numbers": {}, "validation": {"pairs: psnr out": 20.0}},
        {"iteration": 10, "loss": 0.5, "numbers": {"seconds": 0.5}, "validation": None},
        {"iteration": 20, "loss": 0.4, "numbers": {"seconds": 0.5}, "validation": None},
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"i')
    history = History.of(tmp_path)
    assert history.losses() == {"loss": ([10.0, 20.0], [0.5, 0.4])}
    assert history.validations("psnr out") == {"pairs": ([0.0], [20.0])}
    history.add({**lines[1], "loss": 0.3})
    assert history.losses()["loss"][1] == [0.3]
    assert said(lines[2], 4020) == (
        "Iteration 20 of 4020, loss 0.4000, 0.5 s each, about 33 min left"
    )


@pytest.fixture
def widget(qtbot, sharp):
    """The widget on a viewer without a window, with a sharp layer and tiny settings."""
    from napari_deblur._napari.form import fill
    from napari_deblur._napari.train import Train

    viewer = ViewerModel()
    viewer.add_layer(_layer(sharp))
    made = Train(viewer)
    qtbot.addWidget(made)
    viewer.layers.events.inserted.connect(made.reset_choices)
    viewer.layers.events.removed.connect(made.reset_choices)
    fill(made.form, SMALL)
    made.iterations.setValue(20)
    made.device.setCurrentText("cpu")
    yield made
    made.stop()
    qtbot.waitUntil(lambda: not made.busy(), timeout=60_000)


def test_form_follows_the_layers(widget, trained, sharp, qtbot):
    assert widget.reads.text() == 'Learns from 1 piece of "sharp".'
    assert widget.folder() == trained / "sharp"
    assert widget.lesson().optics is None
    widget.lens.setCurrentIndex(1)
    assert widget.reads.text().startswith("NA is empty: give a number, or a lens of any kind")
    qtbot.keyClicks(widget.na, "1.2")
    qtbot.keyClicks(widget.wavelength, "0.52")
    assert widget.lesson().optics == {"na": 1.2, "wavelength": 0.52, "pixel_size": 0.1}
    widget.viewer.add_layer(_layer(sharp + 1, "other"))
    assert [layer.name for layer in widget.sharp.layers()] == ["sharp"]
    widget.sharp.choose(*widget.viewer.layers)
    assert widget.reads.text() == 'Learns from 2 pieces of "sharp", "other".'
    widget.viewer.layers.remove("other")
    assert [layer.name for layer in widget.sharp.layers()] == ["sharp"]
    widget.source.setCurrentIndex(1)
    assert widget.reads.text() == "Blurred and sharp are the same layer: choose two"
    known = {"optics": {"na": 0.9, "wavelengths": [0.6]}}
    widget.na.clear()
    widget.viewer.add_layer(_layer(simulated(64)[0], "blurred", metadata=known))
    widget.blurred_of_pair.choose(widget.viewer.layers["blurred"])
    widget.sharp_of_pair.choose(widget.viewer.layers["sharp"])
    assert widget.reads.text() == 'Learns from 1 pair of pieces of "sharp".'
    assert widget.na.text() == "0.9"
    assert widget.lesson().blurred[0].name == "blurred"


def test_a_pair_of_unlike_sizes_is_refused_before_it_begins(widget, sharp, monkeypatch):
    shown = []
    monkeypatch.setattr("napari.utils.notifications.show_error", shown.append)
    widget.viewer.add_layer(_layer(sharp[:50], "blurred"))
    widget.source.setCurrentIndex(1)
    widget.go.click()
    assert not widget.busy()
    assert shown == [
        '"blurred" has y 50 × x 64 and "sharp" has y 64 × x 64: a pair must show the same place, '
        "voxel by voxel"
    ]
    assert widget.reads.text() == shown[0]


def test_what_is_no_good_to_learn_from_is_said(widget, sharp, qtbot):
    blurred, truth = (simulated(128)[i] for i in (0, 1))
    widget.viewer.add_layer(_layer(blurred, "b"))
    widget.viewer.add_layer(_layer(truth, "t"))
    widget.viewer.add_layer(_layer(truth, "r", metadata={"deblur": {"method": "blind"}}))
    widget.sharp.choose(*list(widget.viewer.layers)[1:])
    qtbot.waitUntil(lambda: "noisy" in widget.reads.text(), timeout=60_000)
    assert widget.reads.text().split("\n")[1:] == [
        '"b" looks blurred or noisy: no fine detail is clear in it, so the network learns none. '
        "Tick a sharper layer.",
        '"r" was deblurred: the network learns what is wrong in it, too.',
    ]
    widget.sharp.choose(widget.viewer.layers["t"])
    assert widget.reads.text() == 'Learns from 1 piece of "t".'


@pytest.mark.parametrize("sigma", [0, 2])
def test_blur_is_seen_in_planes_volumes_colours_and_numbers_of_any_kind(sigma):
    from scipy.ndimage import gaussian_filter

    from napari_deblur._napari.sharpness import looks_blurred

    random = np.random.default_rng(1)
    light = gaussian_filter(simulated(128)[1], sigma)
    counts = random.poisson(light + 20).astype(np.uint16)
    several = np.stack([counts] * 3)
    spread = (light / light.max() * 200).astype(np.uint8)
    for array, axes in (
        (light, "yx"), (counts, "yx"), (several, "zyx"), (several, "cyx"),
        (np.stack([spread] * 3, -1), "yxs"),
    ):  # fmt: skip
        assert looks_blurred(open_stack(array, axes)) == (sigma > 0), axes


def test_only_what_is_called_sharp_is_ticked_by_itself(widget, sharp):
    widget.viewer.layers.clear()
    widget.viewer.add_layer(_layer(simulated(64)[0], "spots"))
    widget.viewer.layers.selection.active = widget.viewer.layers["spots"]
    assert widget.sharp.layers() == []
    assert widget.reads.text() == "Tick a sharp layer."
    widget.viewer.add_layer(_layer(sharp, "unsharp truths"))
    assert widget.sharp.layers() == []
    widget.viewer.add_layer(_layer(sharp, "spots truth"))
    assert [layer.name for layer in widget.sharp.layers()] == ["spots truth"]
    widget.viewer.layers.remove("unsharp truths")
    widget.source.setCurrentIndex(1)
    assert widget.sharp_of_pair.layer.name == "spots truth"
    assert widget.blurred_of_pair.layer.name == "spots"


def test_optics_follow_the_layer_until_they_are_edited(widget, sharp, qtbot):
    lens = {"optics": {"na": 0.9, "wavelength": 0.6}}
    fine = _layer(sharp, "fine", scale=(0.034, 0.034), metadata=lens)
    widget.lens.setCurrentIndex(1)
    lines = (widget.na, widget.wavelength, widget.pixel)
    assert [line.text() for line in lines] == ["", "", "0.1"]
    widget.viewer.add_layer(fine)
    widget.sharp.choose(fine)
    assert [line.text() for line in lines] == ["0.9", "0.6", "0.034"]
    widget.wavelength.clear()
    qtbot.keyClicks(widget.wavelength, "0,52")
    widget.sharp.choose(widget.viewer.layers["sharp"])
    assert [line.text() for line in lines] == ["", "0,52", "0.1"]
    qtbot.keyClicks(widget.na, "1.2")
    assert widget.lesson().optics == {"na": 1.2, "wavelength": 0.52, "pixel_size": 0.1}
    for text in ("nan", "-1", "0"):
        widget.na.setText(text)
        assert widget.reads.text().startswith("NA is ")
        assert "must be above 0" in widget.reads.text()
    widget.na.setText("a")
    assert widget.reads.text() == 'NA is "a": give a number'


def _until(qtbot, true, seconds=90):
    qtbot.waitUntil(true, timeout=1000 * seconds)


class FakeChild:
    """Says what it is told to say."""

    said: list[dict]

    def __init__(self, request, folder, iterations):
        self.folder, self.iterations = folder, iterations
        self.asking = request
        self.asked = self.learning = False
        self.best, self.outcome, self.error = {}, "", ""

    def messages(self):
        while self.said:
            yield self.said.pop(0)

    def running(self):
        return False

    def ask_to_stop(self):
        self.asked = True


def test_train_stop_and_go_on(widget, qtbot, trained, monkeypatch):
    shown = []
    monkeypatch.setattr("napari.utils.notifications.show_error", shown.append)
    widget.iterations.setValue(2000)
    widget.go.click()
    assert not widget.go.isEnabled()
    _until(qtbot, lambda: len(widget.view.history.steps) > 1 or not widget.busy())
    assert widget.busy(), widget.status.text()
    assert widget.view.cases.path.endswith("cases.png")
    assert widget.weights.text() == str(trained / "sharp" / "best.safetensors")
    widget.cancel.click()
    assert "press again" in widget.status.text()
    _until(qtbot, lambda: not widget.busy())
    assert widget.status.text().startswith("Stopped after ")
    better = "In Deblur, choose gdunet and these weights."
    assert (better in widget.status.text()) == ("it began with" not in widget.status.text())
    folder = trained / "sharp"
    known = begun(folder)
    assert known.iterations >= 2
    assert known.of == 2000
    card = (folder / "model_card.md").read_text("utf-8")
    assert "sharp/sharp-t0-c0-z0-y0-x0.tif" in card
    assert "best.safetensors` | after" in card
    with safe_open(widget.weights.text(), "np") as file:
        assert "best" in json.loads(file.metadata()["facts"])
    # It goes on where it was, also when the layers are gone.
    assert widget.go.text() == "Go on"
    monkeypatch.setattr("napari_deblur._napari.train.TrainingRun", FakeChild)
    FakeChild.said = []
    widget.viewer.layers.clear()
    widget.iterations.setValue(known.iterations)
    widget.go.click()
    assert shown == [f"{known.iterations} iterations are done there: ask for more than that"]
    widget.iterations.setValue(known.iterations + 3)
    widget.go.click()
    assert widget._child.asking == {
        "folder": str(folder), "device": "cpu", "changes": {"iterations": known.iterations + 3},
    }  # fmt: skip
    assert len(widget.view.history.steps) >= 2
    FakeChild.said = [{"done": {"weights": "", "iterations": 0, "stopped": True}}, {"ended": ""}]
    _until(qtbot, lambda: not widget.busy())
    assert widget.status.text() == "Stopped before anything was learned."


def test_what_the_child_says_is_shown(widget, qtbot, monkeypatch):
    shown = []
    monkeypatch.setattr("napari.utils.notifications.show_error", shown.append)
    monkeypatch.setattr("napari_deblur._napari.train.TrainingRun", FakeChild)
    step = {"iteration": 5, "loss": 0.25, "numbers": {"seconds": 2.0}, "validation": None}
    best = {"iterations": 0, "score": 21.5, "validation": {}}
    FakeChild.said = [{"say": "reading"}, {"learning": True}]
    FakeChild.said += [{"step": step, "best": best, "picture": ""}]
    widget.go.click()
    _until(qtbot, lambda: bool(widget.view.history.steps))
    assert widget.status.text() == (
        "Iteration 5 of 20, loss 0.2500, 2 s each, about 30 s left. Best: 21.50 dB, of the "
        "weights that it began with"
    )
    assert (widget.bar.value(), widget.bar.maximum()) == (5, 20)
    FakeChild.said = [{"error": "the disk is full"}, {"ended": ""}]
    _until(qtbot, lambda: not widget.busy())
    assert shown == ["the disk is full"]
    FakeChild.said = [{"ended": "It crashed. What was done is kept; Run goes on from there."}]
    widget.go.click()
    _until(qtbot, lambda: not widget.busy())
    assert shown[1:] == ["It crashed. What was done is kept; Go on takes it up."]


@pytest.mark.parametrize(("iterations", "better"), [(0, False), (40, True)])
def test_weights_are_praised_only_if_something_was_learned(widget, iterations, better):
    done = {"weights": "best.safetensors", "iterations": 50, "stopped": True}
    said = widget._told(done, {"iterations": iterations, "score": 21.5, "validation": {}})
    assert ("In Deblur, choose gdunet" in said) == better
    assert ("Nothing better than these was learned yet" in said) != better


def test_how_it_goes_is_seen_as_soon_as_it_starts(widget, qtbot, monkeypatch):
    monkeypatch.setattr("napari_deblur._napari.train.TrainingRun", FakeChild)
    widget.resize(352, 600)
    widget.show()
    step = {"iteration": 5, "loss": 0.25, "numbers": {"seconds": 2.0}, "validation": None}
    FakeChild.said = [{"learning": True}, {"step": step, "best": {}, "picture": ""}]
    widget.go.click()
    _until(qtbot, lambda: bool(widget.view.history.steps))
    seen = widget.view.tabs.visibleRegion().boundingRect().size()
    assert seen == widget.view.tabs.size()
    bar = widget.area.verticalScrollBar()
    bar.setValue(0)  # what the user looks at stays
    widget._scroll_to_view()
    assert bar.value() == 0
    FakeChild.said = [{"ended": ""}]
    _until(qtbot, lambda: not widget.busy())


def test_ended_before_it_learns(widget, qtbot):
    widget.go.click()
    _until(qtbot, lambda: widget._child is not None)
    widget.cancel.click()
    _until(qtbot, lambda: not widget.busy(), 30)
    assert widget.status.text() == "Ended at once: what was saved before is there."
    assert widget.go.text() == "Start"


def test_cancelled_while_the_last_layer_is_written_nothing_begins(widget, qtbot, trained):
    go = Event()

    def steps():
        yield "writing"
        assert go.wait(60)
        return ""

    then = partial(widget._written, trained / "one")
    widget.start("Writing the layers", steps(), then)
    qtbot.waitUntil(lambda: widget.status.text() == "Writing …")
    widget.cancel.click()
    go.set()
    qtbot.waitUntil(lambda: not widget.busy())
    assert widget.status.text() == "Cancelled before it began."
    assert widget._child is None


def test_child_imports_neither_napari_nor_qt():
    import subprocess
    import sys

    code = (
        "import napari_deblur._napari.training_child, napari_deblur.training, sys; "
        "import napari_deblur.gdunet.card, napari_deblur.gdunet.training; "
        "sys.exit(bool({'napari', 'qtpy', 'PyQt6', 'magicgui'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
    code = (
        "import napari_deblur._napari.train, sys; "
        "sys.exit(bool({'torch', 'zarr', 'tifffile', 'pyqtgraph'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_docked_by_its_name_nothing_is_clipped(make_napari_viewer_proxy, qtbot):
    from qtpy.QtWidgets import QCheckBox, QComboBox, QLabel, QPushButton

    viewer = make_napari_viewer_proxy(show=True)
    viewer.add_image(simulated(128)[1], name="sharp", **PLACED)
    _, widget = viewer.window.add_plugin_dock_widget("napari-deblur", "Train GDUNet")
    assert widget.minimumWidth() <= 320
    widget.lens.setCurrentIndex(1)
    widget.view.begin(Path("nowhere"))
    widget.view.add(
        {"iteration": 1, "loss": 0.1, "numbers": {}, "validation": {"pairs: psnr out": 1.0}}, ""
    )
    for theme in ("light", "dark"):
        viewer.theme = theme
        qtbot.wait(200)
        colours = {widget.view.loss.look.ground, widget.view.ncc.look.ground}
        assert len(colours) == 1
        for kind in (QLabel, QPushButton, QCheckBox):
            for one in widget.findChildren(kind):
                if one.isVisible() and one.text() and not getattr(one, "wordWrap", bool)():
                    needed = one.fontMetrics().horizontalAdvance(one.text())
                    assert needed <= one.width(), (theme, one.text())
        for box in widget.findChildren(QComboBox):
            room = box.width() - 30  # the arrow
            texts = [box.itemText(i) for i in range(box.count())]
            assert max(box.fontMetrics().horizontalAdvance(t) for t in texts) <= room, texts
    tips = [one for one in widget.findChildren(QPushButton) if one.isVisible()]
    assert all(one.toolTip() for one in tips if one.text() != "…")
