"""The same tests everywhere: few threads, no clock, no settings of the user, no silent skips."""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Before anything imports torch or napari. A few threads: sums don't depend on the machine's cores.
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("MKL_NUM_THREADS", "2")
os.environ["NAPARI_ASYNC"] = "0"
if "NAPARI_CONFIG" not in os.environ:
    folder = Path(tempfile.mkdtemp(prefix="napari-deblur-tests-"))
    os.environ["NAPARI_CONFIG"] = str(folder / "napari.yaml")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)

# The same examples in every run; no deadline, since the machine may be busy.
settings.register_profile(
    "same",
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("same")


@pytest.fixture
def job(tmp_path):
    """Give a job with a kernel in a file, for whatever input."""
    from napari_deblur.job import Job
    from napari_deblur.kernels import save_kernel
    from napari_deblur.protocols import Kernel
    from napari_deblur.psfs.gaussian import Gaussian

    made = Gaussian(sigma=(0.0, 1.0, 1.0))((1, 5, 5), (1.0, 1.0, 1.0))
    save_kernel(Kernel(made.at()), tmp_path / "kernel.tif")
    return Job(
        "not looked at",
        method="richardson-lucy",
        parameters={"iterations": 2, "background": 0.0},
        kernel=str(tmp_path / "kernel.tif"),
        device="cpu",
    )


WINDOW_FIXTURES = {"make_napari_viewer", "make_napari_viewer_proxy", "qtbot", "qapp"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests with a window where there is no screen, but never in CI."""
    if sys.platform != "linux" or os.environ.get("CI"):
        return
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        return
    skip = pytest.mark.skip(reason="no screen: run under xvfb-run -a")
    for item in items:
        if WINDOW_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(skip)
