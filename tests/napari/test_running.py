"""The child process, without a window."""

import os
import signal
import sys
import time

import numpy as np
import pytest
import tifffile

import napari_deblur as nd
from napari_deblur._napari.asking import Ask
from napari_deblur._napari.running import Child
from napari_deblur._napari.runs import said
from napari_deblur.opening import open_stack
from napari_deblur.results import open_result

KERNEL = nd.Kernel(np.outer([1, 3, 1], [1, 3, 1]))


@pytest.fixture
def request_for(tmp_path, picture):
    def make(iterations=5, array=picture):
        tifffile.imwrite(tmp_path / "a.tif", array)
        stack = open_stack(tmp_path / "a.tif", "tyx"[-array.ndim :], 0.1)
        ask = Ask(nd.methods["richardson-lucy"](iterations=iterations), KERNEL, device="cpu")
        return {
            "source": stack.source.to_dict(),
            "described": {"name": "cells", "time_step": None, "pixel_size": stack.pixel_size},
            "ask": ask.to_dict(),
            "plan": None,
            "output": str(tmp_path / "deep" / "a.deblur.zarr"),
            "job": ask.to_dict(),
        }

    return make


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
    child = Child(request_for())
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
    os.remove(request["source"]["address"])
    heard = _until(Child(request), "ended")
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
    child = Child(request)
    assert _started(child)["done"] == 0
    start = time.monotonic()
    child.cancel()
    assert _until(child, "ended")[-1] == {"ended": ""}
    assert time.monotonic() - start < 5
    assert not open_result(request["output"]).complete
    child = Child(request)
    assert _started(child)["done"] > 0
    child.cancel()
    _until(child, "ended")


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_crash_is_told_in_plain_words(request_for, picture):
    child = Child(request_for(1000, np.stack([picture] * 30)))
    _until(child, "output")
    os.kill(child.pid, signal.SIGKILL)
    ended = _until(child, "ended")[-1]["ended"]
    assert "memory ran out" in ended
    assert "Run goes on from there" in ended


def test_child_ends_with_its_parent(request_for, picture):
    child = Child(request_for(1000, np.stack([picture] * 30)))
    _until(child, "say")
    child._process.stdin.close()  # what the system does when the parent dies
    _until(child, "ended")
    assert _gone(child.pid)


def test_progress_is_a_sentence():
    progress = {"phase": "tiles", "done": 3, "total": 24, "eta": 40.2, "failed": 0, "note": ""}
    assert said(progress) == "Tile 3 of 24, about 40 s left"
    assert said({**progress, "eta": 4000, "failed": 1}).endswith("67 min left, 1 failed")
    assert said({**progress, "phase": "complete", "note": ""}) == "Complete"
