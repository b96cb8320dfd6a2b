import numpy as np
import pytest
import scipy.signal
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_deblur import ops
from napari_deblur.protocols import Blur


@st.composite
def shapes(draw):
    ndim = draw(st.integers(1, 3))
    tile = draw(st.lists(st.integers(1, 14), min_size=ndim, max_size=ndim))
    kernel = draw(st.lists(st.integers(1, 9), min_size=ndim, max_size=ndim))
    lead = draw(st.lists(st.integers(1, 3), max_size=2))
    return tuple(lead), tuple(tile), tuple(kernel)


def random(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@given(shapes())
def test_blur_is_the_valid_part_of_a_linear_convolution(case):
    lead, tile, kernel = case
    basis, thing = random(*kernel), random(*lead, *ops.object_shape(tile, kernel), seed=1)
    blurred = ops.blur(thing, Blur(basis[None])).numpy().reshape(-1, *tile)
    for one, x in zip(blurred, thing.numpy().reshape(-1, *thing.shape[len(lead) :]), strict=True):
        wanted = scipy.signal.convolve(x, basis.numpy(), mode="valid", method="direct")
        np.testing.assert_allclose(one, wanted, atol=2e-6 * wanted.max())


@given(shapes())
def test_adjoints_are_adjoint(case):
    lead, tile, kernel = case
    basis, weight = random(*kernel), random(*lead, *tile, seed=2)
    thing = random(*lead, *ops.object_shape(tile, kernel), seed=1)
    blur = Blur(basis[None])
    there = float((ops.blur(thing, blur).double() * weight).sum())
    back = float((thing.double() * ops.blur_adjoint(weight, blur)).sum())
    by_kernel = float((basis.double() * ops.kernel_adjoint(weight, thing, kernel)).sum())
    assert back == pytest.approx(there, rel=1e-5)
    assert by_kernel == pytest.approx(there, rel=1e-5)


def test_a_field_is_the_weighted_sum_of_its_kernels_and_its_adjoint_is_exact():
    tile, kernel, rank = (12, 13), (4, 5), 3
    shape = ops.object_shape(tile, kernel)
    blur = Blur(random(rank, *kernel), random(rank, *shape, seed=3))
    thing, weight = random(*shape, seed=1), random(*tile, seed=2)
    alone = sum(ops.blur(thing * blur.weights[r], Blur(blur.basis[r : r + 1])) for r in range(rank))
    torch.testing.assert_close(ops.blur(thing, blur), alone)
    there = float((ops.blur(thing, blur).double() * weight).sum())
    assert float((thing.double() * ops.blur_adjoint(weight, blur)).sum()) == pytest.approx(there)


@pytest.mark.parametrize("n", [3, 4])
def test_the_centre_of_a_kernel_is_at_half_its_length(n):
    kernel = torch.zeros(n)
    kernel[n // 2] = 1
    thing = random(10 + n - 1)
    blur = Blur(kernel.expand(1, 1, n).clone())
    torch.testing.assert_close(ops.blur(thing[None], blur), ops.crop(thing[None], blur))


@pytest.mark.parametrize(
    ("n", "even", "length"),
    [
        (11, False, 12),
        (13, False, 14),
        (1, True, 2),
        (121, True, 128),  # 126 = 2·63 takes longer
        (370, True, 384),  # 378 = 2·189 took 1.5 times as long on an Intel processor
        (147, False, 150),  # 3·7·7 took 1.7 times as long
    ],
)
def test_good_lengths(n, even, length):
    assert ops.good_length(n, even=even) == length


@given(st.integers(1, 3000), st.booleans())
def test_no_longer_length_costs_less(n, even):
    length = ops.good_length(n, even=even)
    assert n <= length <= max(1.25 * n, n + 2)
    cost = ops.length_cost(length, even=even)
    for other in range(n + 1, length + length // 4):
        if ops.good_length(other, even=even) == other:
            assert cost <= ops.length_cost(other, even=even)


def test_gradients_pass_through():
    basis = random(1, 3, 3).requires_grad_()
    ops.blur(random(8, 8), Blur(basis)).sum().backward()
    assert bool((basis.grad != 0).all())


def test_a_kernel_with_more_axes_than_the_tile_is_refused():
    with pytest.raises(ValueError, match="more axes"):
        ops.object_shape((5, 5), (3, 3, 3))
