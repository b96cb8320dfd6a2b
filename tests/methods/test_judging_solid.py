"""Kernels of several planes, and kernels that vary, are believed or doubted by the image itself."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_deblur.bench import varying
from napari_deblur.bench.blind_scenes import VOLUMES
from napari_deblur.bench.finding import samples_of
from napari_deblur.bench.trust_volumes import SOLID, planted_solid
from napari_deblur.kernel_judging import judged_places
from napari_deblur.methods._judging import judged
from napari_deblur.methods._judging_copies import stretched, summed, summed_kernel
from napari_deblur.methods._judging_solid import binning, rivals
from napari_deblur.opening import open_stack
from napari_deblur.protocols import Facts, Kernel, Sample
from napari_deblur.views import views_of

DEEP, EVEN = (next(v for v in SOLID if str(v).startswith(name)) for name in
              ("beads, 6 µm", "filaments, Gaussian"))  # fmt: skip


def said(volume, kernel):
    return judged(samples_of(volume)[:1], Kernel(kernel.numpy()[None, None], volume.size))


@pytest.mark.parametrize("volume", [DEEP, EVEN], ids=["deep", "even"])
def test_the_true_kernel_of_a_volume_is_believed(volume):
    volume = replace(volume, seed=9)
    trust = said(volume, volume.true)
    assert trust.verdict == "believe"
    assert trust == said(volume, volume.true)
    assert {"narrower", "wider", "shorter", "longer"} < set(trust.signs)


@pytest.mark.parametrize(
    ("volume", "name", "why"),
    [
        (EVEN, "0.7 × across", "times as wide predicts"),
        (EVEN, "1.6 × along", "times as long along z predicts"),
        (DEEP, "other depth", "predicts held-out light better"),
        (DEEP, "turned over", "turned over along z predicts"),
    ],
)
def test_a_wrong_kernel_of_a_volume_is_doubted(volume, name, why):
    trust = said(volume, dict(planted_solid(volume))[name])
    assert trust.verdict == "doubtful"
    assert why in trust.why


def test_light_from_beyond_a_cut_kernel_is_no_reason_for_doubt():
    # A third of this one's light lies beyond what is looked at, and its own wider relatives have
    # more there.
    (volume,) = [v for v in VOLUMES if v.thing == "blobs"]
    trust = said(volume, volume.true)
    assert trust.verdict == "believe"
    assert trust.signs["wider"] < -1


def test_a_volume_of_noise_has_nothing_to_deblur():
    counts = torch.from_numpy(np.random.default_rng(0).poisson(20, (16, 40, 40)).astype("f4"))
    facts = Facts(gain=1.0, offset=0.0, read_noise=0.0, background=20.0, noise=20**0.5)
    box = ((0, 16), (0, 40), (0, 40))
    trust = judged([Sample(counts, box, 0, 0, None, facts)], Kernel(np.ones((5, 5, 5))))
    assert trust.verdict == "nothing to deblur"
    assert trust.why == "no structure stands out from the noise"


def test_summed_pixels_are_what_a_coarser_camera_sees():
    # An object of wide pixels, blurred finely and then summed, or blurred coarsely.
    kernel = EVEN.true.numpy()[10:21, 12:23, 12:23]
    wide = np.random.default_rng(1).random((9, 20, 20))
    fine = wide.repeat(2, 1).repeat(2, 2) / 4
    from scipy.ndimage import convolve

    facts = Facts(gain=2.0, offset=3.0, read_noise=1.0, background=5.0)
    counts = torch.from_numpy(convolve(fine, kernel, mode="constant").astype("f4"))
    one = summed(Sample(counts, ((0, 9), (0, 40), (2, 42)), 0, 0, None, facts, (1, 0.1, 0.1)),
                 (1, 2, 2))  # fmt: skip
    coarse = convolve(wide, summed_kernel(kernel, (1, 2, 2)), mode="constant")
    np.testing.assert_allclose(one.tile.numpy(), coarse, rtol=1e-4)
    assert one.region == ((0, 9), (0, 20), (2, 22))
    assert one.pixel_size == (1, 0.2, 0.2)
    assert (one.facts.gain, one.facts.offset, one.facts.read_noise) == (2.0, 12.0, 2.0)


def test_relatives_keep_the_middle_where_it_is():
    kernel = np.zeros((6, 9, 9), np.float32)
    kernel[2:5, 3:6, 3:6] = 1 / 27
    for _, name, rival in rivals(kernel):
        assert rival.sum() == pytest.approx(1, abs=1e-5), name
        if "further" in name:
            continue
        for axis, n in enumerate(rival.shape):
            line = rival.sum(axis=tuple(a for a in range(3) if a != axis))
            assert (line * (np.arange(n) - n // 2)).sum() == pytest.approx(0, abs=1e-5), name


def test_a_kernel_with_far_light_is_looked_at_on_summed_pixels():
    assert binning(DEEP.true.numpy(), (24, 64, 64)) == (1, 2, 2)
    assert binning(DEEP.true.numpy(), (24, 40, 40)) == (1, 1, 1)
    assert binning(EVEN.true.numpy(), (24, 64, 64)) == (1, 1, 1)


def test_stretching_along_one_axis_leaves_the_others():
    kernel = EVEN.true.numpy()
    longer = stretched(kernel, (1.5, 1, 1))
    assert longer.shape == (2 * round(15 * 1.5) + 1, *kernel.shape[1:])
    np.testing.assert_allclose(longer.sum(axis=0), kernel.sum(axis=0), atol=1e-4)


@pytest.mark.parametrize(
    ("values", "verdict"),
    [((1.0, 5.0), "believe"), ((1.4, 7.0), "doubtful"), ((5.0, 1.0), "doubtful")],
)
def test_kernels_that_vary_are_judged_in_pieces(values, verdict):
    case = replace(varying.Case("filaments", "tilted", (160, 160)), seed=2)
    _, counts, facts = case.seen()
    stack = open_stack(counts.numpy().squeeze())
    (views,) = views_of(stack, solid=False, given={0: facts}, gamma="linear").values()
    told = judged_places(views, replace(case, values=values).truth((1, 9, 9)))
    assert told["verdict"] == verdict
    assert told["pieces"] == 4
    assert "piece" in told["why"]


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "believe"), (1.5, "doubtful")])
def test_kernels_of_several_planes_that_vary_are_judged(factor, verdict):
    case = varying.Case("filaments", "deep", (32, 48, 48), (1.0, 1.7))
    _, counts, facts = case.seen()
    (views,) = views_of(open_stack(counts.numpy(), "zyx"), solid=True, given={0: facts},
                        gamma="linear").values()  # fmt: skip
    low, high = case.values
    field = replace(case, values=(factor * low, factor * high)).truth((5, 1, 1))
    assert judged_places(views, field)["verdict"] == verdict
