"""Small layers, a scratch folder, and a result on the disk."""

import numpy as np
import pytest

pytest.importorskip("napari")

from napari.layers import Image

from napari_deblur._napari import settings
from napari_deblur._napari.samples import simulated


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    """Keep results and copies of these tests in their own folder."""
    # Child processes: threads that wait for each other crawl on a machine that is busy already.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("MKL_NUM_THREADS", "1")
    monkeypatch.setattr(settings, "_FOLDER", tmp_path / "scratch")
    return tmp_path / "scratch"


@pytest.fixture
def volume():
    return np.random.default_rng(3).poisson(40, (6, 20, 24)).astype(np.uint16)


@pytest.fixture
def layer(volume):
    return Image(
        volume,
        name="cells",
        scale=(0.5, 0.1, 0.2),
        units=("um", "um", "um"),
        axis_labels=("z", "y", "x"),
        translate=(1, 2, 3),
    )


@pytest.fixture
def picture():
    """A blurred picture of 96 × 96."""
    return simulated(96)[0]


@pytest.fixture
def kernel_layer():
    r = np.arange(9) - 4
    array = np.exp(-(r[:, None] ** 2 + r**2) / 8).astype(np.float32)
    return Image(array, name="psf", scale=(0.1, 0.1), units="um", axis_labels=("y", "x"))
