import re
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

from napari_deblur import methods
from napari_deblur.methods import _splitting_numbers
from napari_deblur.testing import check_estimator, check_method

RESTORING = [name for name in methods if callable(methods[name]())]
FINDING = [name for name in methods if hasattr(methods[name], "estimate")]


def known_by(sample):
    arrays = [array.numpy() for array in (sample.tile, sample.blur.basis)]
    rest = repr(replace(sample, tile=None, blur=None))
    return (*((array.shape, array.tobytes()) for array in arrays), rest)


@pytest.fixture(autouse=True, scope="module")
def the_same_search_is_done_once():
    """Where a kernel is known, `blind-sparse` searches for the numbers of `hyper-laplacian`."""
    search, found = _splitting_numbers.decided, {}

    def decided(samples, *question):
        key = (*map(known_by, samples), *question)
        if key not in found:
            found[key] = search(samples, *question)
        return found[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_splitting_numbers, "decided", decided)
        yield


@pytest.mark.parametrize("name", RESTORING)
def test_method_keeps_its_contract(name):
    method = methods[name]()
    # Total variation takes 0.54 % of the light of a bead of σ 1.3 px in a volume; see its page.
    light = 1e-2 if name == "total-variation" else 5e-3
    check_method(method, blurs=name != "identity", light=light)


@pytest.mark.parametrize("name", FINDING)
def test_estimator_keeps_its_contract(name):
    check_estimator(methods[name]())


def test_the_method_in_the_guide_keeps_the_contract(tmp_path, monkeypatch):
    guide = Path(__file__).parents[1] / "CONTRIBUTING.md"
    (block,) = re.findall(r"```python\n(\"\"\"Landweber.*?)```", guide.read_text("utf-8"), re.S)
    (tmp_path / "landweber_of_the_guide.py").write_text(block, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    check_method(import_module("landweber_of_the_guide").Landweber())


def test_contract_finds_a_method_that_moves_the_image():
    class Shifted(methods["richardson-lucy"]):
        def __call__(self, tile, blur):
            estimate = super().__call__(tile, blur)
            return type(estimate)(estimate.image.roll(1, -1), None, estimate.residuals)

    with pytest.raises(AssertionError, match=r"a bead moved by \+1\.0"):
        check_method(Shifted())


class Stretched(methods["gdunet"]):
    """Looks at all of a tile. Not inside its test, for it is pickled."""

    def __call__(self, tile, blur):
        estimate = super().__call__(tile, blur)
        bright = tile.nan_to_num(posinf=0).max() - self.background
        return type(estimate)(estimate.image + 0.01 * bright, None, estimate.residuals)


def test_contract_finds_a_network_that_looks_at_the_whole_tile():
    with pytest.raises(AssertionError, match=r"has no say: what lies 96 px away"):
        check_method(Stretched())
