"""The network is alternating proximal gradient descent, whatever else it learns."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.signal import convolve

from napari_deblur import ops
from napari_deblur.gdunet.kernel_prior import _quadratic, kernel_of
from napari_deblur.gdunet.losses import loss
from napari_deblur.gdunet.network import (
    CONFIGURATIONS,
    Configuration,
    Network,
    centred,
)
from napari_deblur.gdunet.physics import (
    blurred,
    data_direction,
    data_directions,
    data_gradient,
    inner,
    kernel_convolution,
    kernel_direction,
    kernel_gradient,
)
from napari_deblur.gdunet.scene import Pair, extended
from napari_deblur.gdunet.steps import difference, difference_adjoint
from napari_deblur.gdunet.synthesis import Batch, default_kernel
from napari_deblur.protocols import Blur

SMALL = Configuration(width=4, encoder=(1, 1), decoder=(1, 1), gradient_width=4, kernel_width=8)
DENSE = replace(SMALL, dense=2, dense_widths=(8, 12), dense_encoder=(1, 1), dense_decoder=(1,))


def scene(batch=2, channels=1, side=(40, 37), size=(7, 5), seed=0):
    """Smooth objects, uneven kernels, and their data."""
    random = torch.Generator().manual_seed(seed)
    image = torch.rand(batch, channels, *side, generator=random)
    kernel = torch.rand(batch, 1, *size, generator=random) ** 3
    kernel /= kernel.sum(dim=(-2, -1), keepdim=True)
    return image, kernel, blurred(image, kernel)


def lively(network, seed=1):
    """Give all parameters of a network, those that begin at zero too, something to do."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return network


@pytest.mark.parametrize("size", [(7, 5), (4, 9), (31, 31)])
def test_both_gradients_are_those_of_autograd(size):
    image, kernel, data = scene(channels=2, side=(48, 51), size=size)
    thing = torch.rand_like(image).requires_grad_()
    guess = kernel.flip(-1).contiguous().requires_grad_()
    residual = blurred(thing, guess) - data
    wanted = torch.autograd.grad(residual.square().sum() / 2, (thing, guess))
    residual = residual.detach()
    found = (
        data_gradient(residual, guess.detach()),
        kernel_gradient(residual, thing.detach(), size),
    )
    for one, two in zip(found, wanted, strict=True):
        assert (one - two).norm() < 1e-4 * two.norm()


def test_the_published_kernel_step_is_not_the_gradient():
    image, kernel, data = scene(size=(9, 9))
    residual = blurred(image, kernel.flip(-1).contiguous()) - data
    right = kernel_gradient(residual, image, (9, 9)).flatten()
    other = kernel_convolution(residual, image, (9, 9)).flatten()
    assert torch.cosine_similarity(right, other, dim=0) < 0.5
    turned = convolve(image[0, 0].numpy(), residual[0, 0].numpy(), mode="valid")
    found = kernel_convolution(residual, image, (9, 9))[0, 0].numpy()
    np.testing.assert_allclose(found, turned, atol=1e-3 * abs(turned).max())


def test_gradients_are_adjoints_of_the_blur():
    image, kernel, data = scene(channels=3)
    weights = torch.randn_like(data)
    through = (blurred(image, kernel) * weights).sum()
    assert torch.isclose(through, (image * data_gradient(weights, kernel)).sum(), rtol=1e-4)
    back = kernel_gradient(weights, image, (7, 5))
    assert torch.isclose(through, (kernel * back).sum(), rtol=1e-4)


def test_kernels_are_not_turned_round():
    image, kernel, data = scene(batch=1)
    wanted = convolve(image[0, 0].numpy(), kernel[0, 0].numpy(), mode="valid")
    np.testing.assert_allclose(data[0, 0].numpy(), wanted, rtol=1e-4, atol=1e-5)
    same = ops.blur(image[0, 0], Blur(kernel[0]))
    torch.testing.assert_close(data[0, 0], same, rtol=1e-4, atol=1e-5)


def test_differences_have_their_adjoint():
    random = torch.Generator().manual_seed(0)
    image, other = (torch.randn(2, 1, 9, 11, generator=random) for _ in range(2))
    for axis in (-2, -1):
        one = (difference(image, axis) * other).sum()
        assert torch.isclose(one, (image * difference_adjoint(other, axis)).sum(), atol=1e-4)


def test_preconditioned_steps_go_downhill():
    image, kernel, data = scene()
    thing, guess = torch.rand_like(image), kernel.flip(-1).contiguous()
    residual = blurred(thing, guess) - data
    down = data_direction(residual, guess, torch.full((2, 1, 1, 1), 0.02))
    assert ((down * data_gradient(residual, guess)).sum(dim=(1, 2, 3)) > 0).all()
    error = (guess - kernel)[:, 0]
    found = kernel_direction(
        blurred(image, guess) - data, image, (7, 5), torch.tensor(0.05)
    )[:, 0]  # fmt: skip
    cosine = (found * error).sum((1, 2)) / found.norm(dim=(1, 2)) / error.norm(dim=(1, 2))
    assert (cosine > 0.8).all()
    # Nothing of brightness or background in it.
    brighter = kernel_direction(
        3 * (blurred(image, guess) - data), 3 * image + 5, (7, 5), torch.tensor(0.05)
    )[:, 0]
    similar = (found * brighter).sum() / found.norm() / brighter.norm()
    assert similar > 0.8


@pytest.mark.parametrize("kind", ["small", "dense"])
def test_untrained_it_is_alternating_proximal_gradient_descent(kind):
    data = scene(side=(40, 36), size=(7, 5))[2]
    tile = data + 0.02 * torch.randn(data.shape, generator=torch.Generator().manual_seed(3))
    seen, first = extended(tile, (7, 5)), default_kernel(2, (7, 5))
    noise = torch.tensor([[1e-3, 1e-4], [1e-2, 0.0]])
    with torch.no_grad():
        pairs = Network(CONFIGURATIONS["light"])(seen, noise, first, part=kind)
    for item in range(2):
        level = float(torch.sqrt(0.1 * noise[item, 0] + noise[item, 1]))
        y, h = tile[item, 0].double().numpy(), first[item, 0].double().numpy()
        u, h = reference(y, h, level, **STEPS[kind])
        np.testing.assert_allclose(pairs[-1].image[item, 0].numpy(), u, atol=2e-4)
        np.testing.assert_allclose(pairs[-1].kernel[item, 0].numpy(), h, atol=2e-5)


# A dense stage has a whole step, and nothing of gradients.
STEPS = {"small": {"length": 0.5, "weight": 0.05}, "dense": {"length": 1.0, "weight": 0.0}}


def reference(y, h, level, length, weight):
    """Alternate Wiener-preconditioned image steps and least-squares kernel steps."""
    n, k = y.shape, h.shape
    u = np.pad(y, [((m - 1) // 2, m // 2) for m in k], mode="edge")
    lengths = ops.transform_shape(u.shape)
    steep = sum(
        np.abs(1 - np.exp(2j * np.pi * f)) ** 2
        for f in np.meshgrid(*map(np.fft.fftfreq, lengths), indexing="ij")
    )
    fade = [np.sqrt(np.sin(np.pi * (np.arange(m) + 0.5) / m)) for m in n]
    window = fade[0][:, None] * fade[1]

    def spectrum(thing):
        return np.fft.fft2(thing, lengths)

    def otf():
        padded = np.zeros(lengths)
        padded[: k[0], : k[1]] = h
        return np.fft.fft2(np.roll(padded, (1 - k[0], 1 - k[1]), (0, 1)))

    def soft(x, t):
        return np.sign(x) * np.maximum(np.abs(x) - t, 0)

    for _ in range(2):
        r = convolve(u, h, mode="valid") - y
        wiener = otf().conj() / (np.abs(otf()) ** 2 + np.exp(1.5) * level)
        step = length * np.fft.ifft2(spectrum(r) * wiener).real[: u.shape[0], : u.shape[1]]
        for axis in (0, 1):
            d = np.diff(u, axis=axis, append=np.take(u, [-1], axis))
            back = d - soft(d, level)
            step -= weight * np.diff(back, axis=axis, prepend=0)
        u = u - step
        r = window * (convolve(u, h, mode="valid") - y)
        power = steep * np.abs(spectrum(u)) ** 2
        half = power[:, : lengths[1] // 2 + 1].mean()
        lags = np.fft.ifft2(steep * spectrum(u) * spectrum(r).conj() / (power + half / np.e**2))
        h2 = h - 0.05 * lags.real[: k[0], : k[1]][::-1, ::-1] * u.size / window.sum()
        h2 = soft(h2, 1e-3 * h.max())
        h2 = (h2 + np.sqrt(h2**2 + 1e-10)) / 2
        h = h2 / h2.sum()
    return u, h


@pytest.mark.parametrize(
    ("side", "channels", "size"),
    [((40, 40), 1, (7, 7)), ((41, 67), 3, (5, 9)), ((64, 33), 2, (15, 15))],
)
@pytest.mark.parametrize("configuration", [SMALL, DENSE], ids=["small", "dense"])
def test_any_tile_channels_and_kernel(configuration, side, channels, size):
    network = lively(Network(configuration))
    seen = torch.rand(2, channels, *side)
    noise, first = torch.full((2, 2), 1e-3), default_kernel(2, size)
    with torch.no_grad():
        pairs = network(seen, noise, first)
        alone = network(seen[1:], noise[1:], first[1:])
    assert len(pairs) == 2 + configuration.dense
    for pair in pairs:
        assert pair.image.shape == seen.shape
        assert pair.kernel.shape == (2, 1, *size)
        assert (pair.kernel >= 0).all()
        torch.testing.assert_close(pair.kernel.sum(dim=(1, 2, 3)), torch.ones(2))
    # Items of a batch know nothing of each other.
    torch.testing.assert_close(pairs[-1].image[1:], alone[-1].image, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(pairs[-1].kernel[1:], alone[-1].kernel, atol=1e-5, rtol=1e-3)


def test_without_unfolding_dense_stages_go_on_from_nothing():
    with pytest.raises(ValueError, match="take u-net or u-net-light"):
        replace(DENSE, without=("unfolding",))


def test_without_unfolding_dense_convolutions_know_no_kernel():
    network = lively(Network(replace(DENSE, stages=0, dense=1, without=("unfolding",))))
    seen, noise = torch.rand(2, 1, 37, 45), torch.full((2, 2), 1e-3)
    first, other = default_kernel(2, (9, 9)), default_kernel(2, (5, 5))
    (one,), (two,) = network(seen, noise, first), network(seen, noise, other, fixed=True)
    assert torch.equal(one.image, two.image)
    assert torch.equal(one.kernel, first)
    assert (one.image - seen).abs().max() > 0.01
    (noisier,) = network(seen, 10 * noise, first)
    assert not torch.equal(noisier.image, one.image)


@pytest.mark.parametrize(("plain", "unfolded"), [("u-net", "tiny"), ("u-net-light", "light")])
def test_u_nets_to_compare_with_are_as_large(plain, unfolded):
    one, other = (
        sum(p.numel() for p in Network(CONFIGURATIONS[name]).parameters())
        for name in (plain, unfolded)
    )
    assert 1 <= one / other < 1.05


def test_dense_stages_begin_with_the_kernel_of_those_before():
    network = lively(Network(DENSE))
    seen, noise, first = (
        torch.rand(2, 1, 40, 44),
        torch.full((2, 2), 1e-3),
        default_kernel(2, (9, 9)),
    )
    with torch.no_grad():
        whole = network(seen, noise, first, centre=False)
        small = network(seen, noise, first, centre=False, part="small")
        dense = network(seen, noise, small[-1].kernel, centre=False, part="dense")
        given = network(seen, noise, first, fixed=True)
    for one, other in zip(whole, [*small, *dense], strict=True):
        torch.testing.assert_close(one.image, other.image)
        torch.testing.assert_close(one.kernel, other.kernel)
    # With a given kernel they are all there is.
    assert len(given) == 2
    assert all(torch.equal(pair.kernel, first) for pair in given)
    alone = network(seen, noise, first, part="dense")
    torch.testing.assert_close(given[0].image, alone[0].image)


def test_a_dense_step_says_how_loud_it_makes_the_noise():
    kernel = default_kernel(1, (9, 9))
    white = torch.randn(1, 1, 200, 210, generator=torch.Generator().manual_seed(5))
    damping = torch.tensor([0.003, 0.1])[None, :, None, None]
    made, gain = data_directions(white, kernel, damping)
    for i in range(2):
        one = data_direction(white, kernel, damping[:, i : i + 1])
        torch.testing.assert_close(made[:, :, i], one, atol=1e-4, rtol=1e-4)
        assert torch.isclose(inner(one, (29, 29)).std(), gain[0, i, 0, 0], rtol=0.05)


def test_a_kernel_is_centred_and_its_image_moves_with_it():
    image, kernel, _ = scene(batch=2, side=(40, 40), size=(11, 11))
    narrow = torch.zeros_like(kernel)
    narrow[0, :, 1:4, 2:5] = 1 / 9
    narrow[1, :, 6:11, 4:7] = 1 / 15
    there = centred(Pair(image, narrow))
    places = torch.arange(11) - 5
    for axis in (-2, -1):
        middle = (there.kernel * (places[:, None] if axis == -2 else places)).sum(dim=(1, 2, 3))
        assert (middle.abs() <= 0.5).all()
    before, after = blurred(image, narrow), blurred(there.image, there.kernel)
    torch.testing.assert_close(after[..., 5:-5, 5:-5], before[..., 5:-5, 5:-5])


def test_training_sees_how_far_a_kernel_is_from_its_centre():
    # Else the loss of a kernel that wandered off would be that of one that did not.
    network = Network(SMALL)
    image, kernel, _ = scene(batch=1, side=(40, 40), size=(11, 11))
    off = torch.zeros_like(kernel)
    off[..., 1:4, 2:5] = 1 / 9
    with torch.no_grad():
        moved = network(image, torch.full((1, 2), 1e-3), off)[-1]
        raw = network(image, torch.full((1, 2), 1e-3), off, centre=False)[-1]
    again = centred(raw)
    torch.testing.assert_close(again.kernel, moved.kernel)
    torch.testing.assert_close(again.image, moved.image)
    places = torch.arange(11) - 5
    assert float((raw.kernel * places).sum()) < -1


def test_what_is_nearly_right_counts_more():
    sharp, kernel, clean = scene(size=(11, 11))
    worse = torch.randn_like(sharp) * torch.tensor([0.005, 0.1])[:, None, None, None]
    noise = torch.full((2, 2), 1e-3)
    drawn = Batch(sharp + worse, sharp, clean, noise, kernel, kernel, made_up=False)
    harm = []
    for item in range(2):
        image = sharp.clone()
        image[item] += 0.02
        harm.append(float(loss([Pair(image, kernel)], drawn, fixed=True)))
    assert harm[0] > 3 * harm[1] > 0


@pytest.mark.parametrize("name", ["tiny", "light"])
def test_with_its_kernel_fixed_a_tile_is_restored_as_in_the_whole(name):
    network = lively(Network(CONFIGURATIONS[name]))
    torch.manual_seed(2)
    size, cell, halo, core = (15, 15), 8, 64, 64
    sharp = torch.nn.functional.avg_pool2d(torch.rand(1, 1, 272, 272) ** 4, 5, 1)
    kernel, noise = default_kernel(1, size), torch.tensor([[1e-3, 1e-4]])
    tile = blurred(sharp, kernel) + 0.01 * torch.randn(1, 1, 254, 254)
    start = 96
    assert (start - halo) % cell == 0
    cut = tile[..., start - halo : start + core + halo, start - halo : start + core + halo]
    with torch.no_grad():
        whole = network(extended(tile, size), noise, kernel, fixed=True)[-1].image
        part = network(extended(cut, size), noise, kernel, fixed=True)[-1].image
    whole = inner(whole, size)[..., start : start + core, start : start + core]
    part = inner(part, size)[..., halo : halo + core, halo : halo + core]
    assert (whole - part).square().mean().sqrt() < 0.005 * (whole.max() - whole.min())


@pytest.mark.parametrize(
    ("name", "millions"), [("tiny", (0.3, 0.45)), ("light", (2.5, 3.2)), ("paper", (33, 39))]
)
def test_configurations_are_as_large_as_they_say(name, millions):
    with torch.device("meta"):
        network = Network(CONFIGURATIONS[name])
    count = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    assert millions[0] < count < millions[1]


def test_errors_count_by_their_logarithms_where_decibels_are_asked_for():
    sharp, kernel, clean = scene(size=(11, 11))
    noise = torch.full((2, 2), 1e-3)
    drawn = Batch(sharp, sharp, clean, noise, kernel, kernel, made_up=False)

    def counted(image, found, *, fixed=False):
        return float(loss([Pair(image, found)], drawn, decibels=True, fixed=fixed))

    # Ten times the error counts the same whatever it was.
    steps = [counted(sharp + error, kernel, fixed=True) for error in (0.02, 0.2, 2.0)]
    assert steps[1] - steps[0] == pytest.approx(steps[2] - steps[1], rel=0.02)
    assert steps[1] - steps[0] > 0.1
    other = default_kernel(2, (11, 11))
    wrong = [counted(sharp, (1 - w) * kernel + w * other) for w in (0, 0.3, 1)]
    assert wrong[0] < wrong[1] < wrong[2]


def test_attention_makes_gaussians_wider_and_narrower():
    first = default_kernel(1, (31, 31))  # of σ 3.1 px, 1/σ² 0.104
    form = torch.tensor([[0.0, 0.0, 0.0], [2.0, 2.0, 0.0], [4.0, -1.0, 0.0], [-30, -30, -30]])
    form.requires_grad_()
    kernels = kernel_of(first.expand(4, -1, -1, -1), _quadratic(form, (31, 31)))
    torch.testing.assert_close(kernels[:1], first, atol=1e-5, rtol=1e-2)
    places = torch.arange(31.0) - 15
    for axis, index in ((-2, 0), (-1, 1)):
        square = (kernels.sum(dim=-1 if axis == -2 else -2) * places**2).sum(-1).squeeze()
        stretch = 0.1 * torch.expm1(5 * torch.tanh(form[1, index] / 5))
        assert torch.isclose(square[1].sqrt(), 1 / (1 / 3.1**2 + stretch).sqrt(), rtol=0.02)
    down, across = (kernels[2, 0].sum(dim=1 - axis) for axis in (0, 1))
    assert (down * places**2).sum() < 0.5 < 9.6 < (across * places**2).sum()
    kernels.square().sum().backward()
    assert torch.isfinite(form.grad).all()
    assert (form.grad[:, :2] != 0).all()


@pytest.mark.parametrize(
    "change",
    [
        *({"without": (part,)} for part in ("attention", "gradients", "noise", "unfolding")),
        *({"kernel_step": kind} for kind in ("gradient", "released", "none")),
    ],
    ids=str,
)
def test_parts_can_be_left_out_or_exchanged(change):
    network = lively(Network(replace(SMALL, **change)))
    pairs = network(torch.rand(1, 1, 32, 32), torch.full((1, 2), 1e-3), default_kernel(1, (7, 7)))
    sum(pair.image.sum() + pair.kernel.square().sum() for pair in pairs).backward()
    assert all(torch.isfinite(pair.image).all() for pair in pairs)
