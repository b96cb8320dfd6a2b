"""What the widget asks for can be done elsewhere: the same store, to the last bit."""

import json
import os
import shlex
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from qtpy.QtWidgets import QApplication

import napari_deblur as nd
from napari_deblur._napari.addressing import addressed, is_kept
from napari_deblur._napari.asking import Ask, locate
from napari_deblur._napari.deblur import Deblur
from napari_deblur._napari.running import Child
from napari_deblur.job import ChannelTable, Job
from napari_deblur.opening import open_stack
from napari_deblur.results import open_result

SPATIAL = {"scale": (0.1, 0.1), "units": "um", "axis_labels": ("y", "x")}


@pytest.fixture
def viewer(qapp):
    return ViewerModel()


@pytest.fixture
def widget(viewer, qtbot):
    made = Deblur(viewer)
    qtbot.addWidget(made)
    viewer.layers.events.inserted.connect(made.reset_choices)
    return made


def _finish(steps):
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value


def _idle(widget):
    return not widget.busy()


def _copied(widget, qtbot, what):
    QApplication.clipboard().clear()
    widget.start_copy(what)
    qtbot.waitUntil(partial(_idle, widget), timeout=60_000)
    return QApplication.clipboard().text(), widget.status.text()


def _run(widget, qtbot):
    """Do what Run does, and give the result; no layer is added to the model."""
    from napari_deblur._napari.requests import requesting

    layer, asking, _ = widget.confirmed()
    place, _ = widget._place(layer)

    def planned(ask):
        return None
        yield

    request, _ = _finish(requesting(asking, place, planned))
    child = Child(request)
    child.tell("go")
    heard = []

    def ended():
        heard.extend(child.messages())
        return any("ended" in message for message in heard)

    qtbot.waitUntil(ended, timeout=60_000)
    done = [message["done"] for message in heard if "done" in message]
    assert done, heard
    return open_result(done[0]["output"])


def _elsewhere(arguments, folder):
    path = str(Path(nd.__file__).parents[1])
    done = subprocess.run(
        arguments, cwd=folder, env={**os.environ, "PYTHONPATH": path}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def _same(one, two):
    for a, b in zip(one.levels, two.levels, strict=True):
        np.testing.assert_array_equal(a[:], b[:])
    np.testing.assert_array_equal(one.kernels[:], two.kernels[:])
    assert one.plan.channels == two.plan.channels


def test_copies_do_the_same_elsewhere(
    viewer, widget, qtbot, picture, kernel_layer, tmp_path, monkeypatch
):
    from napari_deblur._napari import deblur

    viewer.add_image(picture, name="my cells", **SPATIAL)
    viewer.add_layer(kernel_layer)
    widget.layer.setCurrentText("my cells")
    widget.set_way("layer")
    widget.kernel_layer.setCurrentText("psf")
    widget.method.setCurrentText("richardson-lucy")
    widget._forms["richardson-lucy"]["iterations"].value = 4
    widget.output.put(str(tmp_path / "here.deblur.zarr"))
    here = _run(widget, qtbot)
    job = Job.from_dict(here.job)
    assert job.parameters == {"iterations": 4}
    assert Path(job.kernel).is_file()
    assert here.plan.layout.name == "my cells"

    widget.output.put(str(tmp_path / "python.deblur.zarr"))
    text, said = _copied(widget, qtbot, "python")
    assert "in memory only, so it was saved first" in said
    assert is_kept(Path(Job.from_dict(here.job).input).parent)
    (tmp_path / "job.py").write_text(text, "utf-8")
    _elsewhere([sys.executable, "job.py"], tmp_path)
    _same(open_result(tmp_path / "python.deblur.zarr"), here)

    widget.output.put(str(tmp_path / "command.deblur.zarr"))
    text, said = _copied(widget, qtbot, "command")
    command = shlex.split(text)
    assert command[:2] == ["napari-deblur", "run"]
    _elsewhere([sys.executable, "-m", "napari_deblur", *command[1:]], tmp_path)
    _same(open_result(tmp_path / "command.deblur.zarr"), here)

    # All that a saved job needs lies beside it.
    (tmp_path / "jobs").mkdir()
    file = tmp_path / "jobs" / "mine.toml"
    monkeypatch.setattr(deblur.QFileDialog, "getSaveFileName", lambda *_: (str(file), ""))
    _, said = _copied(widget, qtbot, "job")
    assert said.startswith(f"Saved: {file}.")
    job = Job.load(file)
    for path in (Path(job.input).parent, Path(job.kernel)):
        assert path.parent == file.parent
    assert is_kept(Path(job.input).parent)

    # The same place again: what is there is what was asked for.
    widget.output.put(str(tmp_path / "here.deblur.zarr"))
    text, _ = _copied(widget, qtbot, "python")
    (tmp_path / "again.py").write_text(text, "utf-8")
    assert "it was complete already" in _elsewhere([sys.executable, "again.py"], tmp_path)


def test_a_copy_has_the_plan_of_the_run(viewer, widget, qtbot, picture, kernel_layer, tmp_path):
    from napari_deblur._napari.child import _decided
    from napari_deblur._napari.requests import requesting

    labels = {"scale": (500, 0.1, 0.1), "units": ("ms", "um", "um"), "axis_labels": tuple("tyx")}
    viewer.add_image(np.stack([picture[:48, :48]] * 2), name="my cells", **labels)
    viewer.add_layer(kernel_layer)
    widget.layer.setCurrentText("my cells")
    widget.set_way("layer")
    widget.kernel_layer.setCurrentText("psf")
    widget.method.setCurrentText("richardson-lucy")
    widget._forms["richardson-lucy"]["iterations"].value = 2
    widget.output.put(str(tmp_path / "here.deblur.zarr"))
    layer, asking, _ = widget.confirmed()
    place, _ = widget._place(layer)

    def planned(ask):
        return None
        yield

    request, _ = _finish(requesting(asking, place, planned))
    plan, *_ = _finish(_decided(json.loads(request)))
    text, _ = _copied(widget, qtbot, "python")
    known = {"__name__": "copied"}
    exec(text, known)
    copied = known["job"].plan()
    assert copied.layout.time_step == 0.5
    assert copied.layout.name == "my cells"
    assert copied.key == plan.key


def test_channels_that_differ_are_a_job_file(viewer, widget, qtbot, picture, tmp_path, monkeypatch):
    from napari_deblur._napari import deblur

    labels = {"scale": (1, 0.1, 0.1), "units": ("pixel", "um", "um"), "axis_labels": tuple("cyx")}
    stack = np.stack([picture[:48, :48], picture[48:, :48], picture[:48, 48:]])
    viewer.add_image(stack, name="cells", **labels)
    widget.set_way("psf")
    widget.known.model.setCurrentText("gaussian")
    widget.known._forms["gaussian"][0]["sigma"].value = (0.1, 0.15, 0.15)
    widget.method.setCurrentText("richardson-lucy")
    widget._forms["richardson-lucy"]["iterations"].value = 3
    rows = widget.channels._rows
    rows[0][0].setChecked(False)
    rows[2][2].setCurrentText("wiener")
    assert widget.reads.text().startswith("Read as 2 of 3 channels of 48 × 48 pixels")
    widget.output.put(str(tmp_path / "here.deblur.zarr"))
    here = _run(widget, qtbot)
    assert here.levels[0].shape == (2, 48, 48)
    assert [type(one.method).__name__ for one in here.plan.channels] == ["RichardsonLucy", "Wiener"]

    widget.output.put(str(tmp_path / "there.deblur.zarr"))
    command, said = _copied(widget, qtbot, "command")
    assert "the job is in a file" in said
    _elsewhere([sys.executable, "-m", "napari_deblur", *shlex.split(command)[1:]], tmp_path)
    _same(open_result(tmp_path / "there.deblur.zarr"), here)

    file = tmp_path / "mine.toml"
    monkeypatch.setattr(
        deblur.QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "mine"), "")
    )
    _, said = _copied(widget, qtbot, "job")
    assert said.startswith(f"Saved: {file}.")
    assert Job.load(file).channels == (1, 2)


def test_a_size_that_only_the_file_knows_is_no_job(
    viewer, widget, qtbot, picture, tmp_path, monkeypatch
):
    from napari.layers import Image
    from napari.utils import notifications

    about = {"resolution": (10, 10), "metadata": {"axes": "YX", "unit": "um"}}
    tifffile.imwrite(tmp_path / "a.tif", picture, imagej=True, **about)
    layer = Image(picture, name="a", axis_labels=("y", "x"))
    layer._source = layer.source.model_copy(update={"path": str(tmp_path / "a.tif")})
    viewer.add_layer(layer)
    assert widget.sizes["x"].text() == "0.1"
    for axis in "yx":
        widget.sizes[axis].setText("")
    monkeypatch.setattr(notifications, "show_error", lambda _: None)
    _, said = _copied(widget, qtbot, "python")
    assert "a job cannot say that a voxel size is not known" in said


def test_a_job_finds_its_way_to_channels_of_a_file(tmp_path, scratch):
    array = np.random.default_rng(1).integers(0, 999, (4, 12, 14), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.ome.tif", array, metadata={"axes": "CYX"})
    stack = open_stack(array[2], "yx")
    found, _ = _finish(addressed(stack, str(tmp_path / "a.ome.tif"), scratch))
    asked = Job("", method="wiener", channel=(ChannelTable(index=0, wavelength=0.5),))
    job = locate(asked, found.source, stack, "b.deblur.zarr")
    assert (job.channels, job.channel[0].index) == ((2,), 2)
    np.testing.assert_array_equal(job.open().read(0, 0)[0], array[2])
    # All channels are a layer, and one is left out.
    stack = open_stack(array, "cyx")
    found, _ = _finish(addressed(stack, str(tmp_path / "a.ome.tif"), scratch))
    asked = Job("", method="wiener", channels=(1, 3), channel=(ChannelTable(index=3, na=1.2),))
    job = locate(asked, found.source, stack, "b.deblur.zarr")
    assert (job.channels, job.channel[0].index) == ((1, 3), 3)
    assert job.open().shape[1] == 2


def test_arguments_count_channels_of_the_layer():
    array = np.ones((3, 8, 8), np.float32)
    stack = open_stack(array, "cyx").selected(channels=[1, 2])
    table = ChannelTable(index=2, wavelength=0.6, method="tikhonov")
    ask = Ask(Job("", method="wiener", channels=(1, 2), channel=(table,)))
    asked = ask.arguments(stack)
    assert [type(asked["method"][c]).__name__ for c in (0, 1)] == ["Wiener", "Tikhonov"]
    assert [asked["facts"][c].wavelength for c in (0, 1)] == [None, 0.6]
    assert Ask(ask.job).key == ask.key
    assert Ask(ask.job, stamp="other").key != ask.key
