"""What is waited for beside a window that lives on."""

import shutil
import time

import numpy as np
import pytest
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication, QMainWindow

import napari_deblur as nd
from napari_deblur._napari import aside as module
from napari_deblur._napari.aside import _Waiting, aside
from napari_deblur._napari.reader import read
from napari_deblur._napari.writer import NotSaved, write_tiff, write_zarr
from napari_deblur.opening import open_stack
from napari_deblur.protocols import Cancelled
from napari_deblur.verifying import verify

KERNEL = np.outer([1, 2, 3, 2, 1], [1, 2, 3, 2, 1])


@pytest.fixture
def window(qtbot, monkeypatch):
    """A window that is seen."""
    monkeypatch.setattr(module, "SOON", 0.0)
    made = QMainWindow()
    qtbot.addWidget(made)
    made.show()
    return made


@pytest.fixture
def layers(tmp_path):
    """Layers of a result that has several files."""
    store = tmp_path / "a.deblur.zarr"
    stack = open_stack(np.random.default_rng(0).poisson(50, (2, 3, 24, 30)).astype("u2"), "czyx")
    for _ in nd.run(nd.plan(stack, "wiener", kernel=nd.Kernel(KERNEL)), store, stack):
        pass
    return read(str(store))


def when_seen(do):
    """Do something with the dialog as soon as there is one."""
    seen = [one for one in QApplication.topLevelWidgets() if isinstance(one, _Waiting)]
    if seen and seen[0].isVisible():
        do(seen[0])
    else:
        QTimer.singleShot(20, lambda: when_seen(do))


def test_the_window_lives_on_and_shows_how_far_it_is(window):
    beats, bars = [], []
    heart = QTimer()
    heart.timeout.connect(lambda: beats.append(1))
    heart.start(10)

    def work(said):
        said.total = 20
        for _ in range(20):
            said()
            time.sleep(0.02)
        return "made"

    when_seen(lambda dialog: bars.append((dialog.bar.maximum(), dialog.cancel.isEnabled())))
    assert aside("Saving", work) == "made"
    assert len(beats) > 5
    assert bars == [(20, True)]
    with pytest.raises(ZeroDivisionError):
        aside("Saving", lambda said: 1 / 0)


def test_without_a_window_nothing_is_shown(qapp):
    assert aside("Saving", lambda said: (said(), said.done)[1]) == 1


@pytest.mark.parametrize("how", ["button", "escape"])
def test_it_can_be_cancelled(window, how):
    def endless(said):
        while True:
            said()
            time.sleep(0.01)

    when_seen(lambda dialog: dialog.cancel.click() if how == "button" else dialog.reject())
    with pytest.raises(Cancelled):
        aside("Saving", endless)


@pytest.mark.parametrize("made", ["result", "other"])
@pytest.mark.parametrize("name", ["b.deblur.zarr", "b.deblur.ome.tif"])
def test_of_what_was_not_saved_nothing_is_left(window, layers, tmp_path, monkeypatch, name, made):
    if made == "other":
        size = {"axis_labels": tuple("zyx"), "name": "other"}
        layers = [(np.random.default_rng(0).random((30, 8, 8)), size, "image")]
    write = write_zarr if name.endswith("zarr") else write_tiff
    count = module.Work.__call__

    def slowly(self, planes=1):
        time.sleep(0.03)
        count(self, planes)

    monkeypatch.setattr(module.Work, "__call__", slowly)
    monkeypatch.setattr("napari_deblur.writing.CHUNK", 64)  # a plane for each file
    before = sorted(tmp_path.iterdir())
    when_seen(lambda dialog: dialog.cancel.click())
    with pytest.raises(NotSaved, match=f"cancelled: {name} was not saved"):
        write(str(tmp_path / name), layers)
    assert sorted(tmp_path.iterdir()) == before
    write(str(tmp_path / name), layers)
    if made == "result" and name.endswith("zarr"):
        assert not list(verify(tmp_path / name))
    shutil.rmtree(tmp_path / name, ignore_errors=True)
