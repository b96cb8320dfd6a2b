"""The family of a blur that varies, whether to believe it, and what is left as it is."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import napari_deblur as nd
from napari_deblur import ops
from napari_deblur.bench.scenes import OBJECTS
from napari_deblur.estimating import start_of
from napari_deblur.kernel_judging import judged_tiles
from napari_deblur.methods._families import families_of
from napari_deblur.methods._field_ascent import PHOTONS, held_of
from napari_deblur.methods._field_choice import chosen
from napari_deblur.methods._field_fit import LEVELS, FieldFit
from napari_deblur.methods._field_signs import FACTORS, Place, places
from napari_deblur.methods._field_solid import tied
from napari_deblur.methods._field_trust import judged_field
from napari_deblur.methods.blind import Blind
from napari_deblur.protocols import Facts, KernelField, Sample
from napari_deblur.simulating import simulate
from napari_deblur.views import views_of

SHAPE = (1, 25, 25)


def scene(psf, field=None, *, thing="filaments", shape=(160, 160), seed=7, known=True):
    """An object under a blur, photons of a known camera; or of one of which nothing is known."""
    sharp = OBJECTS[thing](shape, np.random.default_rng(seed)).astype(np.float32)
    made = simulate(sharp, psf, photons=800, background=8, field=field, seed=seed)
    facts = Facts(gain=1.0, offset=0.0, read_noise=0.0, background=8.0, white=800.0)
    if not known:
        facts = Facts(background=8.0, white=800.0, noise=12.0)
    tile = torch.from_numpy(np.array(made.image, np.float32))[None]
    return made, Sample(tile, tuple((0, n) for n in tile.shape), 0, 0, None, facts)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Threads that wait for each other on a busy machine take a hundred times as long."""
    with ops.one_thread():
        yield


@pytest.fixture(scope="module")
def tilted():
    """Filaments under discs of 1 to 4.4 px."""
    return scene(("disc", {"radius": 2.7}), "tilt=0.63")[1]


@pytest.fixture(scope="module")
def fitted(tilted):
    tried = chosen([tilted], families_of(SHAPE, None, tilted.facts), (1, 160, 160))
    return tried, tried[0].fit.found(None)


def test_a_mixture_of_discs_is_not_taken_for_a_gaussian(fitted):
    tried, field = fitted
    assert [one.family.name for one in tried] == ["disc", "gaussian"]
    assert tried[0].deviance < tried[1].deviance
    line = field.maps["radius"][0].mean(axis=0)
    assert line[0] == pytest.approx(1.0, abs=0.6)
    assert line[-1] == pytest.approx(4.4, abs=0.7)
    assert field.report["varies"]
    assert field.report["agreement"] > 0.97


def test_the_family_is_found_where_the_camera_is_unknown():
    _, sample = scene(("disc", {"radius": 2.7}), "tilt=0.63", known=False)
    tried = chosen([sample], families_of(SHAPE, None, sample.facts), (1, 160, 160))
    assert tried[0].family.name == "disc"


def test_no_kernel_of_a_field_that_was_found_is_negative(fitted):
    _, field = fitted
    assert field.rank == LEVELS
    assert field.basis.min() >= 0
    assert field.weights.min() >= 0
    assert field.kernels().sum(axis=(3, 4, 5)) == pytest.approx(1, abs=1e-5)


def test_a_wrong_field_is_refuted_by_its_relatives(tilted, fitted):
    tried, field = fitted
    low, high = field.report["range"]
    found = np.array(field.report["coefficients"])

    def told(factor):
        between = (0.9 * factor * low, 1.1 * factor * high)
        one = tried[0]
        start = one.fit.start.tolist()
        fit = FieldFit([tilted], one.family, start, (1, 160, 160), between=between)
        return judged_field([tilted], field, places(fit, factor * found))

    right, wide, narrow = told(1.0), told(1.25), told(0.7)
    assert right["verdict"] == "believe"
    assert "neither narrower nor wider" in right["why"]
    assert len(right["places"]) == 9
    assert wide["verdict"] == narrow["verdict"] == "doubtful"
    assert wide["signs"]["narrower"] > 0.1 > right["signs"]["narrower"]
    assert narrow["signs"]["wider"] > 0.3 > right["signs"]["wider"]


def seen(**signs):
    """Nine places, of which those named predict so many nats better with wider kernels."""
    made = []
    for y in range(3):
        for x in range(3):
            nats = signs.get(f"at{y}{x}", -50.0)
            better = dict.fromkeys(FACTORS, -50.0) | {1.33: nats}
            made.append(Place((1, y, x), 10_000.0, better))
    return made


def plain(tilted, field):
    """The sample without what is known of its noise, so that detail is not looked at."""
    return [replace(tilted, facts=Facts())], field


def test_a_few_doubtful_places_are_named_and_many_make_it_doubtful(tilted, fitted):
    samples, field = plain(tilted, fitted[1])
    few = judged_field(samples, field, seen(at20=40.0))
    assert few["verdict"] == "believe"
    assert few["why"].startswith("doubtful in 1 of ")
    assert "bottom left, kernels 1.33 times as wide predict" in few["why"]
    many = judged_field(samples, field, seen(at20=40.0, at11=40.0, at02=40.0))
    assert many["verdict"] == "doubtful"
    assert "middle" in many["why"]
    assert "top right" in many["why"]


def test_places_of_noise_have_no_say_and_a_field_of_noise_is_nothing(tilted, fitted):
    samples, field = plain(tilted, fitted[1])
    dark = [replace(place, gained=1.0) for place in seen(at20=40.0, at11=40.0, at02=40.0)]
    found = judged_field(samples, field, dark)
    assert found["verdict"] == "nothing to deblur"
    assert "noise" in found["why"]
    some = [*seen()[:2], *dark[2:]]
    assert judged_field(samples, field, some)["verdict"] == "believe"


def test_a_field_on_the_edge_of_what_was_tried_is_doubted(tilted, fitted):
    samples, field = plain(tilted, fitted[1])
    low, high = field.report["range"]
    edge = replace(field, report={**field.report, "bounds": [low, high]})
    found = judged_field(samples, edge, seen())
    assert found["verdict"] == "doubtful"
    assert "radius came out as the largest that was tried" in found["why"]


@pytest.mark.parametrize("what", ["noise", "flat", "sharp"])
def test_noise_flat_and_sharp_images_are_left_as_they_are(what):
    random = np.random.default_rng(4)
    image = np.full((112, 112), 30.0)
    if what == "sharp":
        image[random.integers(0, 112, 90), random.integers(0, 112, 90)] += 500
    if what != "flat":
        image = random.poisson(image)
    image = image.astype(np.uint16)
    camera = Facts(gain=1.0, offset=0.0, read_noise=0.0)
    method = Blind(families=("gaussian",), refine=False)
    plan = nd.plan(image, method, scope="field", shape=(1, 15, 15), facts=camera)
    report = plan.fields[0].report
    assert report["verdict"] == "nothing to deblur"
    assert ("sharp" if what == "sharp" else "noise") in report["why"]
    assert plan.fields[0].rank == 1
    assert any(note.startswith("nothing to deblur") for note in plan.notes)
    same = nd.deconvolve(plan, image).compute(scheduler="synchronous")
    np.testing.assert_array_equal(same, image)


def test_a_blur_that_is_everywhere_the_same_gets_the_kernel_of_a_single_search():
    _, sample = scene(("gaussian", {"sigma": (0.0, 1.8, 1.8)}), shape=(80, 80))
    method = Blind(families=("gaussian",), refine=False)
    field = method.estimate_field([sample], (1, 19, 19), None, (1, 80, 80))
    one = method.estimate([sample], (1, 19, 19), None)
    assert not field.report["varies"]
    assert field.rank == 1
    np.testing.assert_array_equal(field.typical().array, one.array)
    assert field.report["verdict"] == one.report["verdict"]
    assert field.report["range"] == [one.report["parameters"]["sigma"]] * 2


def test_light_is_capped_whether_or_not_the_camera_is_known():
    for known in (True, False):
        _, sample = scene(("disc", {"radius": 2.0}), known=known)
        (part,), scale = held_of([sample])
        assert scale.lowest < scale.background
        kept = part.sample.facts
        noise = (kept.gain * 792) ** 0.5 if known else kept.noise
        light = ((800 - 8) / noise) ** 2
        assert light == pytest.approx(PHOTONS, rel=0.1)


def test_a_gaussian_of_a_volume_widens_along_all_axes():
    (family,) = families_of((9, 13, 13), None, Facts(), ("gaussian",))
    one, start = tied(family, (1.0, 2.0))
    assert one.parameters == ("sigma across",)
    assert start == (1.0,)
    made = one.kernel(torch.tensor([1.3]))
    assert torch.allclose(made, family.kernel(torch.tensor([1.3, 2.6])))
    disc = families_of(SHAPE, None, Facts(), ("disc",))[0]
    assert tied(disc, (2.0,)) == (disc, (2.0,))


def test_tiles_that_will_find_their_kernels_are_judged_beforehand():
    made, _ = scene(("gaussian", {"sigma": (0.0, 1.8, 1.8)}))
    stack = nd.open_stack(made.image, "yx")
    camera = {0: Facts(gain=1.0, offset=0.0, read_noise=0.0, background=8.0)}
    views = views_of(stack, solid=False, given=camera, gamma="linear")[0]
    method = nd.methods["blind-richardson-lucy"]()
    start = start_of(None, (1, 11, 11), views, method)
    told = judged_tiles(views, method, start, "cpu")
    np.testing.assert_array_equal(told.array, start.array)
    judged = told.report["judged"]
    assert judged["verdict"] in ("believe", "doubtful")
    assert judged["pieces"] >= 1
    assert "pieces" in judged["why"] or "piece" in judged["why"]


def test_a_field_found_for_no_shape_in_particular_is_cropped():
    from napari_deblur.estimating import _cropped_field

    basis = np.zeros((2, 1, 31, 31))
    basis[0, 0, 15, 15] = 1
    basis[1, 0, 12:19, 13:18] = 1 / 35
    field = KernelField(basis, ((0.0,), (5.0,), (0.0, 9.0)), np.eye(2).reshape(2, 1, 1, 2))
    small = _cropped_field(field)
    assert small.shape == (1, 7, 5)
    assert small.kernel_at((0, 5, 9)) == pytest.approx(1 / 35)
