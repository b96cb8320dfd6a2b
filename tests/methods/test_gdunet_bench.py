"""What the quick benchmark of the network leaves out."""

from types import SimpleNamespace

import numpy as np

from napari_deblur.bench import gdunet
from napari_deblur.bench.gdunet_scenes import SIDE, Case
from napari_deblur.methods.blind import Blind


def test_quick_searches_are_short(monkeypatch):
    tried = []

    def estimate(self, samples, shape, first):
        tried.append(self)
        return SimpleNamespace()

    monkeypatch.setattr(Blind, "estimate", estimate)
    thing = np.zeros((2 * SIDE + SIDE - 1,) * 2, np.float32)
    for quick in (False, True):
        gdunet._of_families(Case("nothing", thing, "oblique", 100.0, int(quick), quick))
    assert tried == [Blind(), Blind(families=("gaussian",), refine=False)]
