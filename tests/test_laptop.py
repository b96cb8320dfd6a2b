"""A laptop with 8 GB plans for 500 GB."""

import numpy as np
import pytest

import napari_deblur as nd
from napari_deblur import system
from napari_deblur.describing import size
from napari_deblur.psfs.gaussian import Gaussian
from napari_deblur.stack import Pixels, Stack

FREE = 4_500_000_000  # of 8 GB, the system and a browser taken off


class Nowhere:
    """Cleared tissue under a light sheet: dots on a background, made as they are read."""

    shape = (2000, 10_000, 12_500)
    dtype = np.dtype("u2")
    read = 0

    def __getitem__(self, where):
        spans = [np.arange(*s.indices(n)) for s, n in zip(where, self.shape, strict=True)]
        self.read += int(np.prod([len(span) for span in spans]))
        z, y, x = np.ix_(*spans)
        dots = (z * 73 + y * 179 + x * 283) % 4099 < 40
        noise = (z * 7919 + y * 104_729 + x * 1_299_709) % 31
        return (100 + 900 * dots + noise).astype(self.dtype)


@pytest.fixture
def laptop(monkeypatch):
    monkeypatch.setattr(system, "available_memory", lambda: FREE)


def test_half_a_terabyte_plans_within_the_memory_of_a_laptop(laptop):
    base = Nowhere()
    stack = Stack(Pixels(base, "zyx"), "zyx", pixel_size=(1.0, 0.5, 0.5), name="tissue")
    assert stack.nbytes == 500e9
    kernel = Gaussian((1.0, 0.6, 0.6))((7, 7, 7), (1.0, 0.5, 0.5))
    method = nd.methods["richardson-lucy"](iterations=3)
    plan = nd.plan(stack, method, kernel=kernel, dtype="uint16", device="cpu", judge=False)
    assert 0 < plan.memory <= FREE // 2
    assert plan.grid.shape[2:] == base.shape
    assert base.read < 1e-4 * np.prod(base.shape)
    read = np.prod(plan.grid.tile_shape) * len(plan) / np.prod(base.shape)
    assert 1 < read < 1.25
    said = plan.summary()
    assert f"{len(plan)} (1 × 1 × " in said
    assert f"({read:.2g} × the stack)" in said
    # The image, its mask and their pyramids, and a file while it is joined.
    assert "uint16, up to 723 GB on the disk" in said
    assert f"{size(plan.memory)} for each task" in said
