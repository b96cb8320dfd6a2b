"""The child process, without a window."""

import os
import signal
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import tifffile

import napari_deblur as nd
from napari_deblur._napari.asking import Ask, locate, saved_kernel
from napari_deblur._napari.requests import costs_of, deserves_a_question
from napari_deblur._napari.resuming import unfinished
from napari_deblur._napari.running import Child
from napari_deblur._napari.telling import said
from napari_deblur.opening import open_stack
from napari_deblur.results import open_result

KERNEL = nd.Kernel(np.outer([1, 3, 1], [1, 3, 1]))


@pytest.fixture
def request_for(tmp_path, picture):
    def make(iterations=5, array=picture):
        tifffile.imwrite(tmp_path / "a.tif", array)
        stack = open_stack(tmp_path / "a.tif", "tyx"[-array.ndim :], 0.1)
        kernel = saved_kernel(KERNEL, tmp_path, "psf")
        ask = Ask.of(nd.methods["richardson-lucy"](iterations=iterations), device="cpu")
        job = replace(ask.job, kernel=str(kernel))
        output = str(tmp_path / "deep" / "a.deblur.zarr")
        return {
            "job": locate(job, stack.source, stack, output).to_dict(),
            "described": {"name": "cells", "time_step": None, "pixel_size": stack.pixel_size},
            "plan": None,
            "output": output,
        }

    return make


def _begun(request):
    """Start the child, and let it begin as soon as it has said what it takes."""
    child = Child(request)
    child.tell("go")
    return child


def _until(child, name, seconds=90):
    heard, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        for message in child.messages():
            heard.append(message)
        if any(name in message for message in heard):
            return heard
        time.sleep(0.02)
    raise AssertionError(f"no {name} in {heard}")


def _gone(pid, seconds=10):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def test_child_runs_and_says_what_it_does(request_for, tmp_path):
    child = _begun(request_for())
    heard = _until(child, "ended")
    assert heard[-1] == {"ended": ""}
    done = next(m["done"] for m in heard if "done" in m)
    assert done["phase"] == "complete"
    result = open_result(done["output"])
    assert result.complete
    assert result.plan.layout.name == "cells"
    assert any("say" in m for m in heard)
    assert not child.running()


def test_errors_are_one_sentence(request_for):
    request = request_for()
    os.remove(request["job"]["input"])
    heard = _until(_begun(request), "ended")
    error = next(m["error"] for m in heard if "error" in m)
    assert error.startswith("there is no file")
    assert "Traceback" not in error


def _started(child):
    """Wait for the first tile; give the first progress."""
    heard = []
    while not any(m["progress"]["done"] for m in heard if "progress" in m):
        heard += _until(child, "progress")
    return next(m["progress"] for m in heard if "progress" in m)


def test_cancel_ends_it_and_a_second_run_goes_on(request_for, picture):
    request = request_for(300, np.stack([picture] * 12))
    child = _begun(request)
    assert _started(child)["done"] == 0
    start = time.monotonic()
    child.cancel()
    assert _until(child, "ended")[-1] == {"ended": ""}
    assert time.monotonic() - start < 30  # a whole run takes minutes
    assert not open_result(request["output"]).complete
    child = _begun(request)
    assert _started(child)["done"] > 0
    child.cancel()
    _until(child, "ended")


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_crash_is_told_in_plain_words(request_for, picture):
    child = _begun(request_for(1000, np.stack([picture] * 30)))
    _until(child, "output")
    os.kill(child.pid, signal.SIGKILL)
    ended = _until(child, "ended")[-1]["ended"]
    assert "memory ran out" in ended
    assert "Run goes on from there" in ended


def test_child_ends_with_its_parent(request_for, picture):
    child = _begun(request_for(1000, np.stack([picture] * 30)))
    _until(child, "say")
    child._process.stdin.close()  # what the system does when the parent dies
    _until(child, "ended")
    assert _gone(child.pid)


def test_progress_is_a_sentence():
    progress = {"phase": "tiles", "done": 3, "total": 24, "eta": 40.2, "failed": 0, "note": ""}
    assert said(progress) == "Tile 3 of 24, about 40 s left"
    assert said({**progress, "eta": 4000, "failed": 1}).endswith("67 min left, 1 failed")
    assert said({**progress, "phase": "complete", "note": ""}) == "Complete"


def test_it_says_what_it_takes_and_waits_for_a_word(request_for, tmp_path):
    child = Child(request_for())
    ready = next(m["ready"] for m in _until(child, "ready") if "ready" in m)
    assert ready["tiles"] == 1
    assert ready["free"] > ready["disk"] > 0
    assert ready["memory"] > 0
    time.sleep(0.3)
    assert not list(child.messages())
    assert not (tmp_path / "deep" / "a.deblur.zarr").exists()
    child.tell("go")
    assert _until(child, "ended")[-1] == {"ended": ""}


def test_a_pause_stops_within_a_tile_and_costs_no_expected_time(request_for, picture):
    child = _begun(request_for(300, np.stack([picture] * 12)))
    _started(child)
    child.tell("pause")
    time.sleep(0.5)
    list(child.messages())
    time.sleep(1.5)
    assert not list(child.messages())  # of tiles that take 0.2 s each
    assert child.running()
    child.tell("resume")
    progress = [m["progress"] for m in _until(child, "progress") if "progress" in m][-1]
    assert progress["seconds"] > 2
    assert progress["eta"] < progress["seconds"] / progress["done"] * (12 - progress["done"])
    child.cancel()
    _until(child, "ended")


def test_an_interrupted_store_is_found_and_gone_on_with(request_for, picture, tmp_path):
    request = request_for(100, np.stack([picture] * 6))
    child = _begun(request)
    _started(child)
    child.cancel()
    _until(child, "ended")
    stack = open_stack(tmp_path / "a.tif", "tyx", 0.1)
    assert unfinished(tmp_path / "b.deblur.zarr", stack) is None
    assert unfinished(request["output"], stack.selected(times=[0])) is None
    found = unfinished(request["output"], stack).path
    assert str(found) == request["output"]
    child = _begun({"resume": str(found)})
    assert _started(child)["done"] > 0
    assert _until(child, "ended", 60)[-1] == {"ended": ""}
    assert open_result(found).complete
    assert unfinished(request["output"], stack) is None
    # The same job again is not done again.
    child = Child(request)
    done = next(m["done"] for m in _until(child, "ended") if "done" in m)
    assert done["note"] == "it was complete already"


def test_errors_that_nobody_foresaw_are_said_in_words(request_for, monkeypatch):
    request = request_for()
    del request["output"]
    [error] = [m["error"] for m in _until(_begun(request), "ended") if "error" in m]
    assert "nobody foresaw (KeyError: 'output'): please report it" in error


def test_what_a_run_takes_is_said_in_a_line():
    ready = {"tiles": 12, "memory": 1.1e9, "disk": 3e9, "free": 80e9, "voxels": 36e6}
    said_of = "12 tiles, 1.1 GB of memory, result 3 GB (80 GB free)"
    assert costs_of(ready, None) == f"{said_of}."
    assert costs_of(ready, (1.0, 1e5)) == f"{said_of}, about 6 min."
    assert not deserves_a_question(ready, (1.0, 1e5))
    assert deserves_a_question(ready, (2.0, 1e5))  # 12 min
    assert deserves_a_question({**ready, "free": 5e9}, None)
