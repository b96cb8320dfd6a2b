import pytest
import torch

from napari_deblur import ops
from napari_deblur.ops.projectors import half_widths, wiener_butterworth
from napari_deblur.protocols import Blur
from napari_deblur.testing import kernel_of


@pytest.mark.parametrize("sigma", [1.0, 1.7, 2.5])
def test_half_widths_of_a_gaussian(sigma):
    kernel = torch.from_numpy(kernel_of((25, 26), sigma).at().copy())[0]
    # Straight lines between pixels, and a Gaussian averaged over pixels: a fifth of one.
    assert half_widths(kernel) == pytest.approx([2.3548 * sigma] * 2, abs=0.22)


def test_of_a_delta_nothing_is_left_to_undo():
    blur = Blur(ops.delta((5, 5))[None])
    factors = wiener_butterworth(blur, (20, 21), 0.3)
    assert float(factors.max()) == pytest.approx(1.0)
    assert float(factors.min()) > 0.5


def test_frequencies_that_the_blur_weakened_are_lifted_and_the_finest_are_not():
    blur = Blur(torch.from_numpy(kernel_of((17, 17), 2.0).at().copy()))
    factors = wiener_butterworth(blur, (1, 48, 48), 0.3)
    assert float(factors[0, 0]) == 1.0
    assert float(factors.max()) > 1.3
    assert float(factors[factors.shape[0] // 2, -1]) < 0.15


def test_the_shaped_back_projection_is_the_adjoint_of_the_same_factors():
    blur = Blur(torch.from_numpy(kernel_of((7, 7)).at().copy()))
    tile = torch.rand(1, 20, 22)
    factors = wiener_butterworth(blur, tile.shape, 0.3)
    plain = ops.blur_adjoint(tile, blur, shaped=torch.ones_like(factors))
    torch.testing.assert_close(plain, ops.blur_adjoint(tile, blur))
    shaped = ops.blur_adjoint(tile, blur, shaped=factors)
    assert float(shaped.sum()) == pytest.approx(float(plain.sum()), rel=0.05)
    assert not torch.allclose(shaped, plain, atol=1e-3)
