import pytest

from napari_deblur import methods
from napari_deblur.testing import check_estimator, check_method

RESTORING = [name for name in methods if callable(methods[name]())]
FINDING = [name for name in methods if hasattr(methods[name], "estimate")]


@pytest.mark.parametrize("name", RESTORING)
def test_method_keeps_its_contract(name):
    method = methods[name]()
    check_method(method, blurs=name != "identity")


@pytest.mark.parametrize("name", FINDING)
def test_estimator_keeps_its_contract(name):
    check_estimator(methods[name]())


def test_contract_finds_a_method_that_moves_the_image():
    class Shifted(methods["richardson-lucy"]):
        def __call__(self, tile, blur):
            estimate = super().__call__(tile, blur)
            return type(estimate)(estimate.image.roll(1, -1), None, estimate.residuals)

    with pytest.raises(AssertionError, match=r"a bead moved by \+1\.0"):
        check_method(Shifted())
