"""A blur that varies: its kernels, its weights, planned, restored, stored and read back."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from typer.testing import CliRunner

import napari_deblur as nd
from napari_deblur import ops
from napari_deblur.cli import app
from napari_deblur.job import ChannelTable, Job
from napari_deblur.kernels import save_kernel
from napari_deblur.ops.fields import field_of, modes_of
from napari_deblur.protocols import Blur, Facts, Kernel, KernelField, Sample
from napari_deblur.psfs.gaussian import Gaussian
from napari_deblur.report import _kernel_at, _look, write_report
from napari_deblur.results import load_field, open_result, save_field
from napari_deblur.verifying import verify

ONE = (1.0, 1.0, 1.0)
RL = nd.methods["richardson-lucy"](iterations=15)
ACROSS = {False: (13, 13), True: (7, 7)}  # of kernels of one plane, and of several
ITERATIVE = ("richardson-lucy", "accelerated-richardson-lucy", "richardson-lucy-tv", "wavelet")
DIRECT = ("wiener", "tikhonov", "total-variation", "hyper-laplacian")


def gaussians(size, *, low=0.8, high=2.2, nodes=(1, 4, 5), across=(13, 13), deep=False, most=6):
    """A field whose Gaussians widen along x, or along z."""
    lines = [
        np.linspace(0, n - 1, m) if m > 1 else [(n - 1) / 2]
        for n, m in zip(size, nodes, strict=True)
    ]
    shape = (7, *across) if deep else (1, *across)
    kernels, sigmas = np.zeros((*nodes, *shape)), np.zeros(nodes)
    for place in np.ndindex(*nodes):
        axis = 0 if deep else 2
        s = low + (high - low) * place[axis] / max(nodes[axis] - 1, 1)
        sigmas[place] = s
        kernels[place] = Gaussian((0.8 * s if deep else 0.0, s, s))(shape, ONE).at()
    return field_of(kernels, lines, maps={"sigma": sigmas}, most=most)


def seen(field, size, *, seed=0, peak=800, background=10.0):
    """Bars under a blur that varies, with photons."""
    random = np.random.default_rng(seed)
    whole = tuple((0, n) for n in size)
    blur = field.at(whole)
    thing = torch.zeros(ops.object_shape(size, (1,) * (3 - blur.ndim) + blur.shape))
    for _ in range(thing.numel() // 300):
        z, y, x = (int(random.integers(0, n)) for n in thing.shape)
        thing[z, y : y + 2, x : x + 4] = peak * random.uniform(0.3, 1)
    counts = random.poisson(ops.blur(thing, blur).numpy() + background)
    return counts.astype(np.uint16)


def restored(plan, stack):
    return nd.deconvolve(plan, stack).compute(scheduler="synchronous")


# The field itself --------------------------------------------------------------------------------


def test_modes_sum_to_nothing_and_the_mean_counts_one():
    kernels = np.stack([Gaussian((0, s, s))((1, 15, 15), ONE).at() for s in (0.8, 1.3, 2.0, 2.6)])
    basis, weights = modes_of(kernels, error=1e-3)
    sums = basis.sum(axis=(1, 2, 3), dtype=np.float64)
    assert sums[0] == pytest.approx(1, abs=1e-6)
    assert abs(sums[1:]).max() < 1e-7
    assert (weights[0] == 1).all()
    again = np.tensordot(weights.T, basis, axes=1)
    assert np.linalg.norm(again - kernels) < 2e-3 * np.linalg.norm(kernels)


def test_a_field_gives_its_kernels_back_at_the_nodes_and_mixes_between():
    field = gaussians((1, 80, 90), most=8)
    sharp = Gaussian((0, 0.8, 0.8))((1, 13, 13), ONE).at()
    assert abs(field.kernel_at((0, 10, 0)) - sharp).max() < 0.01 * sharp.max()
    assert np.array_equal(field.kernel_at((0, 0, -50)), field.kernel_at((0, 0, 0)))
    x = field.nodes[2]
    between = field.kernel_at((0, 0, (x[1] + x[2]) / 2))
    mean = (field.kernel_at((0, 0, x[1])) + field.kernel_at((0, 0, x[2]))) / 2
    assert abs(between - mean).max() < 1e-3
    assert field.kernels().shape == (1, 4, 5, 1, 13, 13)
    assert field.kernels().sum(axis=(3, 4, 5)) == pytest.approx(1, abs=1e-5)
    assert field.kernels().min() >= 0


def test_weights_lie_on_the_object_of_a_tile():
    field = gaussians((1, 80, 90))
    whole = field.at(((0, 1), (0, 80), (0, 90)))
    part = field.at(((0, 1), (20, 50), (31, 72)))
    assert whole.weights.shape == (field.rank, 92, 102)
    assert part.weights.shape == (field.rank, 42, 53)
    # Both objects begin 6 px before their tiles.
    assert torch.equal(part.weights, whole.weights[:, 20:62, 31:84])


def test_other_nodes_leave_the_field_as_it_is():
    field = gaussians((1, 80, 90))
    more = (field.nodes[0], field.nodes[1], sorted({*field.nodes[2], 10.0, 33.3}))
    region = ((0, 1), (5, 30), (7, 60))
    finer = field.on(more).at(region)
    assert torch.allclose(field.at(region).weights, finer.weights, atol=1e-6)


@pytest.mark.parametrize("solid", [False, True])
def test_no_light_is_lost_where_the_blur_varies(solid):
    size = (20, 40, 40) if solid else (1, 60, 70)
    field = gaussians(size, nodes=(4, 1, 1) if solid else (1, 4, 5), deep=solid)
    blur = field.at(tuple((0, n) for n in size))
    wide = ops.object_shape(size, (1,) * (3 - blur.ndim) + blur.shape)
    thing = torch.zeros(wide)
    middle = tuple(n // 2 for n in wide)
    thing[middle] = 100.0
    assert float(ops.blur(thing, blur).sum()) == pytest.approx(100, rel=2e-3)
    one, other = torch.rand(wide), torch.rand(size)
    forth, back = ops.blur(one, blur) * other, ops.blur_adjoint(other, blur) * one
    assert float(forth.sum()) == pytest.approx(float(back.sum()), rel=1e-4)


def test_planes_of_a_batch_can_have_weights_of_their_own():
    nodes = ((0.0, 9.0), (0.0,), (0.0,))
    kernels = np.zeros((2, 1, 1, 1, 9, 9))
    for z, sigma in enumerate((0.7, 1.8)):
        kernels[z, 0, 0] = Gaussian((0, sigma, sigma))((1, 9, 9), ONE).at()
    field = field_of(kernels, nodes)
    thing = torch.rand(10, 28, 28)
    whole = ops.blur(thing, field.at(((0, 10), (0, 20), (0, 20))))
    last = ops.blur(thing[9:], field.at(((9, 10), (0, 20), (0, 20))))
    assert torch.allclose(whole[9:], last, atol=1e-6)
    plain = ops.blur(thing[9:], Blur(torch.from_numpy(kernels[1, 0, 0]).float()))
    assert torch.allclose(last, plain, atol=1e-3)


def test_errors_name_what_is_wrong():
    basis, weights = np.ones((1, 3, 3)) / 9, np.ones((1, 1, 1, 2))
    with pytest.raises(ValueError, match="along x must be finite and rise"):
        KernelField(basis, ((0,), (0,), (5, 3)), weights)
    with pytest.raises(ValueError, match="has weights of shape"):
        KernelField(basis, ((0,), (0,), (3,)), weights)
    with pytest.raises(ValueError, match="must sum to 1, got 2"):
        KernelField(basis, ((0,), (0,), (3, 5)), 2 * weights)
    with pytest.raises(ValueError, match='map "radius" has shape'):
        KernelField(basis, ((0,), (0,), (3, 5)), weights, {"radius": np.ones(2)})


# Restored ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ITERATIVE)
@pytest.mark.parametrize("solid", [False, True])
def test_no_step_on_a_flat_object(name, solid):
    """Within half a percent of its brightness, a kernel away from the border."""
    size = (18, 22, 22) if solid else (1, 60, 70)
    nodes = (5, 1, 1) if solid else (1, 4, 5)
    field = gaussians(size, nodes=nodes, deep=solid, across=ACROSS[solid])
    region = tuple((0, n) for n in size)
    blur = field.at(region)
    wide = ops.object_shape(size, (1,) * (3 - blur.ndim) + blur.shape)
    tile = ops.blur(torch.full(wide, 1000.0), blur)
    numbers = {"background": 0.0, "start": 500.0, "lowest": 0.0, "iterations": 12}
    if name == "wavelet":
        numbers |= {"weight": 1.0, "noise": 1.0, "gain": 0.0, "levels": 2}
    if name in ("wavelet", "richardson-lucy-tv"):
        numbers |= {"spacing": (1.0,) * blur.ndim}
    if name == "richardson-lucy-tv":
        numbers |= {"weight": 1e-3}
    if "acceler" in name:
        numbers |= {"unmatched": 0}
    if "acceler" in name or "tv" in name:
        numbers |= {"momentum": (0.5,)}
    image = nd.methods[name](**numbers)(tile, blur).image
    away = tuple(slice(n // 2, -(n // 2)) for n in blur.shape)
    inner = image[(..., *away)]
    assert float((inner - 1000).abs().max()) < 5
    assert float(inner.mean()) == pytest.approx(1000, rel=1e-3)


def test_tiled_equals_whole():
    field = gaussians((1, 160, 170))
    stack = nd.open_stack(seen(field, (1, 160, 170))[0], "yx")
    whole = nd.plan(stack, RL, kernel=field)
    tiled = nd.plan(stack, RL, kernel=field, tile=(1, 64, 64))
    assert len(whole) == 1 < len(tiled)
    assert "mixed by weights at 1 × 4 × 5 nodes" in tiled.summary()
    peak = whole.channels[0].facts.white - whole.channels[0].facts.background
    difference = np.abs(restored(whole, stack) - restored(tiled, stack)).max()
    assert difference < tiled.seam * peak


def test_depth_varies_and_tiles_agree():
    size = (12, 24, 60)
    field = gaussians(size, nodes=(5, 1, 1), across=(7, 7), deep=True, high=1.4)
    tile = torch.from_numpy(seen(field, size).astype(np.float32))
    method = nd.methods["richardson-lucy"](6, background=10.0, start=20.0, lowest=0.0)
    whole = method(tile, field.at(((0, 12), (0, 24), (0, 60)))).image
    part = method(tile[..., 10:].contiguous(), field.at(((0, 12), (0, 24), (10, 60)))).image
    assert float((whole[..., 40:] - part[..., 30:]).abs().max()) < 1e-3 * float(tile.max())


def test_a_field_restores_better_than_its_typical_kernel():
    field = gaussians((1, 120, 130))
    size = (1, 120, 130)
    random = np.random.default_rng(3)
    blur = field.at(tuple((0, n) for n in size))
    thing = torch.zeros(ops.object_shape(size, (1, *blur.shape)))
    for _ in range(120):
        _, y, x = (int(random.integers(0, n)) for n in thing.shape)
        thing[0, y : y + 3, x : x + 3] = 900 * random.uniform(0.3, 1)
    counts = random.poisson(ops.blur(thing, blur).numpy() + 10).astype(np.uint16)[0]
    truth = ops.crop(thing, blur)[0].numpy() + 10

    def error(kernel):
        return np.square(nd.deconvolve(counts, RL, kernel).compute() - truth).mean()

    assert error(field) < 0.9 * error(field.typical())


@pytest.mark.parametrize("name", DIRECT)
def test_methods_of_one_kernel_refuse_a_field(name):
    field = gaussians((1, 60, 60))
    image = seen(field, (1, 60, 60))[0]
    with pytest.raises(ValueError, match="can't use a blur that varies over the field"):
        nd.plan(image, name, kernel=field)


# Planned, stored, read back ----------------------------------------------------------------------


def test_the_key_and_the_file_know_the_field():
    field = gaussians((1, 60, 70))
    other = gaussians((1, 60, 70), high=2.4)
    image = seen(field, (1, 60, 70))[0]
    plan, again = (nd.plan(image, RL, kernel=field) for _ in range(2))
    assert plan.key == again.key != nd.plan(image, RL, kernel=other).key
    copy = nd.Plan.from_dict(plan.to_dict())
    assert copy.key == plan.key
    assert np.array_equal(copy.fields[0].basis, field.basis)
    assert np.array_equal(copy.fields[0].weights, field.weights)
    assert np.array_equal(copy.fields[0].maps["sigma"], field.maps["sigma"])


def test_plans_without_fields_say_nothing_of_them():
    kernel = Gaussian((0, 1.5, 1.5))((1, 9, 9), ONE)
    assert "fields" not in nd.plan(np.ones((40, 40)), RL, kernel=kernel).to_dict()


def test_a_result_holds_a_mosaic_of_the_nodes(tmp_path):
    size = (1, 60, 70)
    field = gaussians(size)
    stack = nd.open_stack(seen(field, size)[0], "yx")
    plan = nd.plan(stack, RL, kernel=field)
    path = tmp_path / "a.deblur.zarr"
    list(nd.run(plan, path, stack=stack))
    result = open_result(path)
    assert result.complete
    mosaic = np.asarray(result.kernels[:])
    assert mosaic.shape == (1, 1, 1, 4 * 13, 5 * 13)
    assert np.array_equal(mosaic[0, 0, :, 13:26, 26:39], field.kernels()[0, 1, 2])
    geometry = result.kernel_geometry
    assert geometry["nodes"] == {a: list(n) for a, n in zip("zyx", field.nodes, strict=True)}
    assert geometry["cores"]["x"][0][0] == 0
    assert geometry["cores"]["x"][-1][1] == 70
    assert result.plan.key == plan.key
    assert np.array_equal(load_field(path).weights, field.weights)
    stored = np.asarray(result.levels[0][:])
    assert np.array_equal(stored, restored(plan, stack))


def test_one_channel_varies_and_the_other_does_not(tmp_path):
    size = (1, 60, 70)
    field, kernel = gaussians(size), Gaussian((0, 1.2, 1.2))((1, 9, 9), ONE)
    image = seen(field, size)[0]
    stack = nd.open_stack(np.stack([image, image]), "cyx")
    plan = nd.plan(stack, RL, kernel={0: kernel, 1: field})
    assert plan.fields == (None, plan.fields[1])
    assert plan.fields[1] is field
    both = restored(plan, stack)
    assert np.allclose(both[0], nd.deconvolve(image, RL, kernel).compute(), atol=1e-2)
    list(nd.run(plan, tmp_path / "a.deblur.zarr", stack=stack))
    mosaic = np.asarray(open_result(tmp_path / "a.deblur.zarr").kernels[:])
    assert mosaic.shape == (1, 2, 1, 4 * 13, 5 * 13)
    assert np.allclose(mosaic[0, 0, 0, 2:11, 2:11], kernel.at()[0])


def test_fields_are_saved_and_loaded(tmp_path):
    field = gaussians((1, 60, 70))
    field = KernelField(field.basis, field.nodes, field.weights, field.maps, ONE, {"why": "test"})
    save_field(field, tmp_path / "field.npz")
    again = load_field(tmp_path / "field.npz")
    assert np.array_equal(again.basis, field.basis)
    assert np.array_equal(again.weights, field.weights)
    assert np.array_equal(again.maps["sigma"], field.maps["sigma"])
    assert (again.nodes, again.pixel_size, again.report) == (field.nodes, ONE, {"why": "test"})
    np.savez(tmp_path / "kernel.npz", kernel=np.ones((3, 3)))
    with pytest.raises(ValueError, match="holds no field"):
        load_field(tmp_path / "kernel.npz")


def test_a_field_that_was_cut_or_damaged_is_said_so(tmp_path):
    field = gaussians((1, 60, 70), high=2.4)
    save_field(field, tmp_path / "field.npz")
    raw = bytearray((tmp_path / "field.npz").read_bytes())
    for at in range(40, len(raw), len(raw) // 40):
        (tmp_path / "field.npz").write_bytes(raw[:at] + bytes(200) + raw[at + 200 :])
        with suppress(ValueError):
            load_field(tmp_path / "field.npz")
        (tmp_path / "field.npz").write_bytes(raw[:at])
        with pytest.raises(ValueError, match="holds no field"):
            load_field(tmp_path / "field.npz")


def test_what_cannot_be_done_is_said():
    field = gaussians((1, 60, 70))
    image = seen(field, (1, 60, 70))[0]
    with pytest.raises(ValueError, match="finds no kernels that vary"):
        nd.plan(image, "blind-richardson-lucy", scope="field")
    with pytest.raises(ValueError, match="moves single kernels"):
        nd.plan(image, RL, kernel=field, centre_kernel=True)
    sized = KernelField(field.basis, field.nodes, field.weights, {}, (1.0, 0.2, 0.2))
    stack = nd.open_stack(image, "yx", pixel_size=(1.0, 0.1, 0.1))
    with pytest.raises(ValueError, match="was made for voxels of"):
        nd.plan(stack, RL, kernel=sized)
    assert nd.plan(image, None, kernel=field, scope="field").fields[0] is field


# From a file to a report -------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path):
    """An image of 60 × 70 with the field that blurred it."""
    field = gaussians((1, 60, 70))
    save_field(field, tmp_path / "field.npz")
    tifffile.imwrite(tmp_path / "a.tif", seen(field, (1, 60, 70))[0], metadata={"axes": "YX"})
    return tmp_path, field


def said(*arguments):
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


def test_the_command_line_restores_with_a_field_and_the_result_is_sound(files):
    folder, field = files
    command = ["run", folder / "a.tif", folder / "b.deblur.zarr", "--kernel", folder / "field.npz"]
    command += ["--method", "richardson-lucy", "--set", "iterations=3"]
    shown = said(*command, "--plan")
    assert "channel: kernels that vary over the field or with depth" in shown
    assert "4 × 5 nodes (z, y, x), sigma 0.8 to 2.2" in shown
    said(*command)
    result = open_result(folder / "b.deblur.zarr")
    assert np.array_equal(result.plan.fields[0].weights, field.weights)
    assert list(verify(result.path)) == []
    # What is there already is found again, and is not restored with another field.
    assert "taking the plan from" in said(*command)
    save_field(gaussians((1, 60, 70), high=2.4), folder / "field.npz")
    with pytest.raises(AssertionError, match="another output"):
        said(*command)


def test_a_report_shows_the_kernel_of_the_place_that_is_seen(files):
    folder, field = files
    given = {"method": "richardson-lucy", "parameters": {"iterations": 2}, "region": ":,:20"}
    job = Job("a.tif", "b.deblur.zarr", kernel="field.npz", **given).resolved(folder)
    list(job.run())
    result = open_result(job.output_path)
    shown = _kernel_at(result, _look(result, job.open()))
    assert np.array_equal(shown, field.kernel_at((0, 29.5, 9.5)))
    assert abs(shown - result.plan.kernel.at()).max() > 0.01
    write_report(job.output_path, folder / "a.png")
    with Image.open(folder / "a.png") as picture:
        assert picture.width > 1000


def test_a_table_gives_one_channel_a_field(files):
    folder, field = files
    image = tifffile.imread(folder / "a.tif")
    tifffile.imwrite(folder / "two.tif", np.stack([image, image]), metadata={"axes": "CYX"})
    save_kernel(Gaussian((0, 1.2, 1.2))((1, 9, 9), ONE), folder / "k.npz")
    tables = (ChannelTable(index=1, kernel="field.npz"),)
    few = {"method": "richardson-lucy", "parameters": {"iterations": 2}}
    job = Job("two.tif", "b.deblur.zarr", kernel="k.npz", channel=tables, **few).resolved(folder)
    plan = job.plan()
    assert plan.field(0) is None
    assert np.array_equal(plan.field(1).basis, field.basis)
    assert "kernels that vary over the field or with depth, in channel 1" in plan.summary()
    save_field(gaussians((1, 60, 70), high=2.4), folder / "other.npz")
    each = {"0": "field.npz", "1": "other.npz"}
    list(Job("two.tif", "c.deblur.zarr", kernel=each, **few).resolved(folder).run())
    with pytest.raises(ValueError, match="has a field for each of 2 channels"):
        Job("a.tif", kernel="c.deblur.zarr", **few).resolved(folder).plan()
    sized = Job("a.tif", kernel="field.npz", kernel_pixel_size=(0.2, 0.2), **few).resolved(folder)
    assert sized.plan().field(0).pixel_size == (1.0, 0.2, 0.2)


# Found -------------------------------------------------------------------------------------------


class Gaussians:
    """A family of one parameter, as the fit wants it."""

    name = "gaussian"
    parameters = ("sigma",)

    def __init__(self, shape=(13, 13), high=3.0):
        self.shape, self.bounds = shape, ((0.6, high),)

    def kernel(self, values):
        kernel = torch.ones(())
        for n in self.shape:
            line = torch.arange(n) - n // 2
            kernel = kernel[..., None] * torch.exp(-((line / values[0]) ** 2) / 2)
        return kernel / kernel.sum()


def fitted(family, size, low, high, *, peak):
    """Blur bars with kernels of the family that widen along the last axis or along z; fit them."""
    from napari_deblur.methods._field_fit import fit_field

    deep = len(family.shape) == 3
    count, last = 9, size[0] if deep else size[2]
    values = np.linspace(low, high, count)
    kernels = np.stack([family.kernel(torch.tensor([float(v)])).numpy() for v in values])
    line, shape = np.linspace(0, last - 1, count), (1, 1, *family.shape)[-3:]
    grid, nodes = ((count, 1, 1), (line, [0], [0])) if deep else ((1, 1, count), ([0], [0], line))
    truth = field_of(kernels.reshape(*grid, *shape), nodes)
    counts = torch.from_numpy(seen(truth, size, peak=peak).astype(np.float32))
    facts = Facts(gain=1.0, offset=0.0, read_noise=0.0, background=10.0, white=800, noise=3.2)
    sample = Sample(counts, tuple((0, n) for n in size), 0, 0, None, facts)
    with ops.one_thread():
        return fit_field([sample], family, [1.5], size)


def test_the_fit_finds_how_a_blur_varies():
    field = fitted(Gaussians(), (1, 96, 96), 0.8, 2.2, peak=3000)
    line = field.maps["sigma"][0].mean(axis=0)
    assert line[0] == pytest.approx(0.8, abs=0.3)
    assert 1.6 < line[-1] < 2.6
    assert field.report["deviance"] < field.report["deviance of the constant"]
    assert field.report["family"] == "gaussian"


def test_the_fit_finds_how_a_blur_grows_with_depth():
    field = fitted(Gaussians((7, 7, 7), high=2.0), (20, 20, 20), 0.7, 1.5, peak=3000)
    line = field.maps["sigma"][:, 0, 0]
    assert line[-1] > line[0] + 0.3
    assert field.report["deviance"] < field.report["deviance of the constant"]


class Finder:
    """An estimator of fields, as thin as can be."""

    estimate_shapes = ()

    def resolved(self, samples):
        return self

    def estimate(self, samples, shape, first):
        return Kernel(np.ones((1, 1)))

    def estimate_field(self, samples, shape, first, size):
        self.regions = [sample.region for sample in samples]
        return gaussians(size)

    def restorer(self):
        return RL


# A plan takes methods of the catalogue, by the module that they live in.
Finder.__module__ = "napari_deblur.methods.blind_richardson_lucy"


def test_scope_field_plans_with_what_an_estimator_finds():
    size = (1, 60, 70)
    image = seen(gaussians(size), size)[0]
    finder = Finder()
    plan = nd.plan(image, finder, scope="field", shape=(1, 13, 13))
    assert finder.regions == [((0, 1), (0, 60), (0, 70))]
    assert plan.scope == "field"
    assert plan.fields[0].grid == (1, 4, 5)
    assert plan.channels[0].method.iterations == RL.iterations


def test_samples_for_a_field_come_from_all_over_it():
    from napari_deblur import sampling

    stack = nd.open_stack(np.random.default_rng(0).poisson(9, (900, 1000)).astype("u2"), "yx")
    seen_there = sampling.look(stack, 0, solid=False)
    places = sampling.spread(stack, seen_there, solid=False)
    assert len(places) == 25
    rows = sorted({sum(y) * 5 // 1800 for _, (_, y, _) in places})
    assert rows == [0, 1, 2, 3, 4]


def test_a_lens_that_was_found_at_each_depth_is_sampled_as_far_as_its_light_reaches():
    from napari_deblur.protocols import Facts
    from napari_deblur.psfs.gibson_lanni import GibsonLanni

    size, nodes, depths = (0.3, 0.1, 0.1), ((0.0, 8.0, 16.0), (9.5,), (9.5,)), (0.0, 2.0, 4.0)
    lens = {"na": 1.2, "wavelength": 0.52, "n_immersion": 1.33, "n_sample": 1.38, "blur": 0.01}
    models = [GibsonLanni(**lens, depth=depth) for depth in depths]
    kernels = np.stack([model((5, 9, 9), size).at() for model in models])
    found = {"family": "gibson-lanni", "parameter": "depth", "values": {"depth": 1, "blur": 0.01}}
    field = field_of(
        kernels.reshape(3, 1, 1, 5, 9, 9),
        nodes,
        maps={"depth": np.array(depths).reshape(3, 1, 1)},
        pixel_size=size,
        report=found,
    )
    facts = Facts(na=1.2, wavelength=0.52, n_immersion=1.33, n_sample=1.38)
    wide = nd.methods["blind"]().widened_field(field, (17, 20, 20), facts)
    assert all(n > m for n, m in zip(wide.shape, field.shape, strict=True))
    assert wide.nodes == field.nodes
    wanted = models[1](wide.shape, size).at()
    assert wide.kernel_at((8, 9, 9)) == pytest.approx(wanted, abs=0.02 * float(wanted.max()))


def test_a_region_of_a_file_takes_its_part_of_a_field(tmp_path):
    size = (1, 40, 96)
    field = gaussians(size)
    tifffile.imwrite(tmp_path / "a.tif", seen(field, size)[0])
    save_field(field, tmp_path / "field.npz")
    jobs = [
        Job(
            str(tmp_path / "a.tif"),
            kernel=str(tmp_path / "field.npz"),
            method="richardson-lucy",
            parameters={"iterations": 5},
            gain=1.0,
            background=10.0,
            region=region,
        )
        for region in (None, "0:1,:,32:")
    ]
    whole, part = (restored(plan, job.open()) for job in jobs for plan in [job.plan()])
    np.testing.assert_allclose(part[..., 16:], whole[..., 48:], atol=2e-3 * whole.max())
    (said,) = [note for note in jobs[0].plan().notes if note.startswith("the field of kernels")]
    assert "was not judged: the image is smaller than 48 pixels" in said
