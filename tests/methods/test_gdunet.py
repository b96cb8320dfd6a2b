"""The trained network as a method: its numbers, its kernels, its tiles; errors in plain words."""

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from time import sleep

import numpy as np
import pytest
import torch

import napari_deblur as nd
from napari_deblur import ops
from napari_deblur.gdunet import weights
from napari_deblur.gdunet.network import Configuration, Network
from napari_deblur.gdunet.weights import save_weights
from napari_deblur.gridding import lay
from napari_deblur.halos import Halo
from napari_deblur.methods.gdunet import GDUNet
from napari_deblur.plans import Plan
from napari_deblur.protocols import Blur, Facts, Kernel, KernelField, Sample
from napari_deblur.psfs.gaussian import Gaussian
from napari_deblur.restoring import restore_tile
from napari_deblur.results import open_result
from napari_deblur.stack import Pixels, Stack
from napari_deblur.testing import kernel_of, scene
from napari_deblur.tiles import Grid, halves


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def counts(shape=(150, 141), *, sigma=1.8, seed=0, peak=1000.0, kernel=(13, 13)):
    """Blobs and bars on 100 counts, blurred, with the noise of photons."""
    random = np.random.default_rng(seed)
    thing = torch.zeros(ops.object_shape(shape, kernel))
    for _ in range(thing.numel() // 200):
        y, x = (int(random.integers(0, n)) for n in thing.shape)
        thing[y : y + int(random.integers(2, 9)), x : x + 3] = peak * random.uniform(0.2, 1)
    blur = Blur(torch.from_numpy(kernel_of(kernel, sigma).at().copy()))
    light = ops.blur(thing, blur).clamp(min=0).numpy() + 100
    return random.poisson(light).astype(np.float32)


def sample(tile, blur=None, pixel_size=None, **facts):
    region = ((0, 1), *((0, n) for n in tile.shape[-2:]))
    return Sample(torch.as_tensor(tile), region, 0, 0, blur, Facts(**facts), pixel_size)


def stack_of(array, axes="yx"):
    return Stack(Pixels(array, axes), axes)


TINIER = Configuration(width=4, encoder=(1, 1), decoder=(1, 1), gradient_width=4, kernel_width=8)
KNOWN = {"background": 100.0, "white": 1000.0, "noise": 10.0, "gain": 1.0}


def test_numbers_are_those_of_the_channel():
    facts = {**KNOWN, "offset": 20.0, "read_noise": 6.0}
    found = GDUNet().resolved([sample(counts(), **facts)])
    assert (found.background, found.white, found.gain) == (100.0, 1000.0, 1.0)
    # Of 80 photons and the camera; not what was measured where there may be no dim pixel.
    assert found.noise == pytest.approx((80 + 36) ** 0.5)
    assert len(found.digest) == 64
    assert GDUNet().resolved([sample(counts(), noise=7.0)]).gain == 0
    assert GDUNet().resolved([sample(counts(), noise=7.0)]).noise == 7


def test_where_there_is_only_noise_it_is_not_stretched_to_the_whole_range():
    noise = torch.from_numpy(np.random.default_rng(0).normal(100, 5, (80, 90)).astype(np.float32))
    found = GDUNet().resolved([sample(noise)])
    assert found.white - found.background >= 6 * found.noise > 25
    blur = Blur(torch.from_numpy(kernel_of((9, 9), 1.5).at().copy()))
    restored = found.restorer()(noise, blur).image
    assert float(restored.std()) < float(noise.std())


def test_where_nothing_is_without_light_the_darkest_is_above_the_background():
    random = np.random.default_rng(1)
    y, x = np.mgrid[:96, :100]
    light = 250 + 210 * np.sin(x / 9) * np.cos(y / 7)
    textured = sample(random.poisson(light).astype(np.float32), gain=1.0, background=250.0)
    guessed = replace(textured.facts, origins={"background": "estimated"})
    camera = replace(guessed, offset=5.0, read_noise=1.0)
    for facts, least, most in ((guessed, 25, 60), (camera, 5, 15)):
        found = GDUNet().resolved([replace(textured, facts=facts)])
        assert least < found.background < most
        assert found.noise > 0 or facts.offset is None
    assert GDUNet().resolved([textured]).background == 250  # said by somebody who knows
    assert GDUNet(background=80.0).resolved([replace(textured, facts=guessed)]).background == 80
    dark = sample(counts(), gain=1.0, background=100.0)
    dark = replace(dark, facts=replace(dark.facts, offset=0.0, origins={"background": "estimated"}))
    assert GDUNet().resolved([dark]).background == 100
    holes = replace(dark, tile=dark.tile.clone())
    holes.tile[20:40, 10:90] = torch.nan
    assert GDUNet().resolved([holes]).background == 100


def test_weights_that_are_not_there_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no weights "huge".*one of: .*tiny'):
        GDUNet("huge").resolved([sample(counts())])
    (tmp_path / "other.safetensors").write_bytes(b"no weights at all, nor anything near")
    broken = GDUNet(str(tmp_path / "other.safetensors")).resolved([sample(counts())])
    blur = Blur(torch.from_numpy(kernel_of((9, 9)).at().copy()))
    with pytest.raises(ValueError, match="holds no weights of this version's network"):
        broken(torch.from_numpy(counts()), blur)


def test_packaged_weights_are_whole_and_small(tmp_path, monkeypatch):
    files = sorted(weights.FOLDER.glob("*.safetensors"))
    assert [file.stem for file in files] == ["light", "tiny"]
    assert sum(file.stat().st_size for file in files) < 10e6
    listed = (weights.FOLDER / weights.SUMS).read_text("utf-8").split()[1::2]
    assert listed == [file.name for file in files]
    assert all(len(weights.checked_digest(file)) == 64 for file in files)
    assert all(weights.name_of(weights.weights_path(file.stem)) == file.stem for file in files)
    (tmp_path / "mine.safetensors").write_bytes(b"mine")
    with pytest.raises(FileNotFoundError):  # a path is one, not a name
        weights.weights_path(tmp_path / "mine")
    (tmp_path / "light.safetensors").write_bytes(b"cut off")
    (tmp_path / weights.SUMS).write_bytes((weights.FOLDER / weights.SUMS).read_bytes())
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match="install napari-deblur again"):
        GDUNet().resolved([sample(counts())])


def test_other_weights_than_planned_are_refused(tmp_path):
    path = tmp_path / "mine.safetensors"
    small = Configuration(width=4, encoder=(1, 1), decoder=(1, 1), gradient_width=4, kernel_width=8)
    save_weights(path, Network(small), {"kernel_sizes": [21]})
    tile, blur = torch.from_numpy(counts((50, 60))), Blur(ops.delta((5, 5))[None])
    planned = GDUNet(str(path), kernel="given").resolved([sample(tile, **KNOWN)])
    assert planned.weights == str(path)
    assert planned(tile, blur).image.shape == tile.shape
    with pytest.raises(ValueError, match="leave digest out"):
        GDUNet(str(path), digest="0" * 64).resolved([sample(tile)])
    with pytest.raises(ValueError, match="the plan says 000000"):
        replace(planned, digest="0" * 64)(tile, blur)


@pytest.mark.parametrize(
    ("harm", "error"),
    [
        (Path.unlink, FileNotFoundError),
        (lambda path: save_weights(path, Network(TINIER), {"kernel_sizes": [9]}), ValueError),
    ],
    ids=["removed", "changed"],
)
def test_a_run_refuses_other_weights_before_it_removes_a_result(tmp_path, harm, error):
    torch.manual_seed(1)
    path, output = tmp_path / "own.safetensors", tmp_path / "a.deblur.zarr"
    save_weights(path, Network(TINIER), {"kernel_sizes": [9], "image_sides": [48]})
    stack = stack_of(counts((60, 64)))
    plan = nd.plan(stack, GDUNet(weights=str(path)), kernel=kernel_of((9, 9), 1.8), judge=False)
    *_, last = nd.run(plan, output, stack)
    assert last.phase == "complete"
    harm(path)
    for place, overwrite in ((output, True), (tmp_path / "b.deblur.zarr", False)):
        with pytest.raises(error, match="own"):
            list(nd.run(plan, place, stack, overwrite=overwrite))
    assert not (tmp_path / "b.deblur.zarr").exists()
    assert open_result(output).complete
    assert [p.phase for p in nd.run(plan, output, stack)][-1] == "complete"  # nothing left to do


def test_threads_that_begin_together_load_the_network_once(tmp_path, monkeypatch):
    path = tmp_path / "mine.safetensors"
    save_weights(path, Network(DEEP), {"kernel_sizes": [21]})
    made, both = [], Barrier(2, timeout=10)

    def slow(configuration):
        made.append(configuration)
        sleep(0.2)  # as long as a disk may take, for the other one to come
        return Network(configuration)

    def load(_):
        both.wait()
        return weights.load_network(path, weights.digest(path), "cpu")[0]

    monkeypatch.setattr(weights, "Network", slow)
    monkeypatch.setattr(weights, "_check_sizes", lambda *_: None)
    with ThreadPoolExecutor(2) as threads:
        one, two = threads.map(load, range(2))
    assert one is two is weights.load_network(path, weights.digest(path))[0]
    assert len(made) == 1


DEEP = Configuration(
    stages=1, width=4, encoder=(1, 1, 1, 1), decoder=(1, 1, 1, 1), gradient_width=4, kernel_width=8
)


def test_weights_decide_where_tiles_begin_and_how_much_is_looked_at(tmp_path):
    path = tmp_path / "deep.safetensors"
    save_weights(path, Network(DEEP), {"kernel_sizes": [31, 45], "image_sides": [128, 320]})
    deep = GDUNet(str(path), kernel="given")
    assert (deep.multiple_of, GDUNet().multiple_of, GDUNet.multiple_of) == (16, 8, 8)
    assert deep.estimate_shapes == ((320, 320),)
    assert GDUNet().estimate_shapes == ((256, 256),)
    assert deep.widest((1, 300, 60)) == (1, 45, 29)
    assert GDUNet().widest((1, 300, 60)) == (1, 31, 29)
    assert deep.arrays < GDUNet().arrays < 220
    # Another file of that name is read anew, and none has the numbers of the class.
    save_weights(path, Network(replace(DEEP, encoder=(1,), decoder=(1,))), {"kernel_sizes": [9]})
    assert (deep.multiple_of, deep.widest((1, 300, 60))) == (2, (1, 9, 9))
    path.write_bytes(b"nothing")
    assert deep.multiple_of == 8


def test_plans_cut_where_deeper_networks_bin(tmp_path):
    path = tmp_path / "deep.safetensors"
    save_weights(path, Network(DEEP), {"kernel_sizes": [31]})
    plan = nd.plan(
        stack_of(counts((150, 141))), GDUNet(str(path), kernel="given"),
        kernel=kernel_of((9, 9), 1.5), tile=(1, 56, 56), judge=False, accept_seam=True,
    )  # fmt: skip
    assert plan.grid.multiple_of == (1, 16, 16)
    assert plan.grid.core == (1, 64, 64)


def test_a_file_without_a_suffix_is_kept_by_its_whole_path(tmp_path, monkeypatch):
    save_weights(tmp_path / "mine", Network(DEEP), {"kernel_sizes": [31]})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    for name in ("mine", "~/mine"):
        found = GDUNet(name).resolved([sample(counts(), **KNOWN)])
        assert found.weights == str((tmp_path / "mine").resolve())
    assert GDUNet().resolved([sample(counts(), **KNOWN)]).weights == "light"


def test_weights_that_are_not_shipped_are_said_not_to_be():
    with pytest.raises(FileNotFoundError, match=r"weights paper are not shipped.*: light, tiny"):
        GDUNet("paper").resolved([sample(counts())])


def test_noise_that_neighbours_share_is_a_doubt():
    plain = sample(counts(), **KNOWN)
    shared = replace(plain, facts=replace(plain.facts, colour=100.0))
    method = GDUNet().resolved([plain])
    assert "doubt" not in method.estimate([plain], (1, 9, 9), None).report
    doubt = method.estimate([shared], (1, 9, 9), None).report["doubt"]
    assert doubt.startswith("neighbouring pixels share their noise")


def test_hot_pixels_and_holes_change_no_kernel():
    clean = counts((150, 141), sigma=2.0)
    hot, holed = clean.copy(), clean.copy()
    hot[[20, 50, 80, 110, 130], [30, 90, 60, 20, 120]] = 8000
    holed[70] = np.nan
    facts = {**KNOWN, "offset": 0.0, "read_noise": 0.0}
    method = GDUNet().resolved([sample(clean, **facts)])
    one, *others = (
        method.estimate([sample(array, **facts)], (1, 15, 15), None)
        for array in (clean, hot, holed)
    )
    for other in others:
        assert other.report.get("verdict") == one.report.get("verdict") is None
        np.testing.assert_allclose(other.array, one.array, atol=0.05 * one.array.max())


def test_the_example_of_the_documentation_runs(tmp_path, monkeypatch):
    page = Path(__file__).parents[2] / "docs" / "methods" / "gdunet.md"
    if not page.is_file():
        pytest.skip("there are no pages beside an installed package")
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "cells.tif", counts((80, 84)))
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code, names)
    stages = names["stages"]
    assert stages["image"].shape == (4, 80, 84)
    assert stages["kernel"].shape == (4, 31, 31)
    assert float((stages["kernel"][0] - stages["kernel"][1]).abs().max()) > 0


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: GDUNet(kernel="guessed"), 'kernel is "guessed"'),
        (lambda: GDUNet(weights=""), "weights is empty"),
        (lambda: GDUNet(noise=-1.0), "noise is -1.0"),
        (lambda: GDUNet(background=5.0, white=5.0), "must be above background"),
        (lambda: GDUNet(white=float("inf")), "white is inf and must be a number of counts"),
        (lambda: GDUNet(background=float("nan")), "background is nan and must be a number"),
        (lambda: GDUNet(noise=float("inf")), "noise is inf and must be a number of counts"),
    ],
)
def test_impossible_parameters_are_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_blur_within_planes_only():
    made = scene((64, 70), (9, 9), beads=4)
    fixed = GDUNet(kernel="given").resolved([made.sample()])
    with pytest.raises(ValueError, match="plane by plane"):
        fixed(made.seen[None].expand(9, -1, -1).clone(), Blur(torch.ones(1, 3, 5, 5) / 75))
    shares = torch.rand(2, *ops.object_shape((64, 70), (9, 9)))
    blur = Blur(torch.ones(1, 3, 5, 5) / 75)
    with pytest.raises(ValueError, match="plane by plane"):  # before anything is begun
        GDUNet(kernel="given").resolved([replace(made.sample(), blur=blur)])
    with pytest.raises(ValueError, match="varies within planes"):
        fixed(made.seen, Blur(made.blur.basis.repeat(2, 1, 1), shares / shares.sum(0)))
    with pytest.raises(ValueError, match="kernels of one plane"):
        fixed.estimate([made.sample()], (3, 9, 9), None)


def test_kernels_that_vary_along_z_serve_their_planes():
    volume = torch.from_numpy(np.stack([counts((60, 64), seed=i) for i in range(3)]))
    narrow, wide = (kernel_of((13, 13), sigma).at()[0] for sigma in (1.0, 2.0))
    field = KernelField(
        np.stack([narrow, wide]), ((0.0, 2.0), (30.0,), (30.0,)),
        np.array([[1.0, 0.0], [0.0, 1.0]])[:, :, None, None],
    )  # fmt: skip
    fixed = GDUNet(kernel="given").resolved([sample(volume, **KNOWN)])
    both = fixed(volume, field.at(((0, 3), (0, 60), (0, 64)))).image
    for z, kernel in enumerate((narrow, (narrow + wide) / 2, wide)):
        alone = fixed(volume[z], Blur(torch.from_numpy(kernel.copy())[None])).image
        torch.testing.assert_close(both[z], alone, rtol=1e-4, atol=0.05)


@pytest.mark.parametrize(
    ("shape", "searched"),
    [
        ((1, 45, 45), (45, 45)),
        ((1, 31, 25), (31, 25)),
        ((1, 8, 12), (7, 11)),
        ((1, 99, 9), (75, 9)),
        ((1, 3, 5), (5, 5)),
    ],
)
def test_kernels_are_looked_for_in_the_size_asked_for(shape, searched):
    samples = [sample(counts(seed=i), **KNOWN) for i in range(2)]
    found = GDUNet().resolved(samples).estimate(samples, shape, None)
    assert found.shape == shape
    assert tuple(found.report["searched"]) == searched
    assert found.report["trained_with"] == [21, 25, 31]
    assert max(abs(v) for v in found.centroid()) < 0.05
    assert len(found.report["agreement"]) == len(found.report["counted"]) == 2


def test_the_order_of_samples_does_not_matter():
    samples = [sample(counts(seed=i), **KNOWN) for i in range(3)]
    fixed = GDUNet().resolved(samples)
    one, two = (fixed.estimate(some, (1, 21, 21), None) for some in (samples, samples[::-1]))
    np.testing.assert_allclose(one.array, two.array, atol=1e-6)


def test_the_search_begins_where_it_is_told():
    plain, tile = {"na": 1.2, "wavelength": 0.52}, counts()
    size = (0.2, 0.05, 0.05)
    start = Gaussian((0.0, 1.0, 1.0))((1, 21, 21), (1.0, 1.0, 1.0))
    known = sample(tile, pixel_size=size, **KNOWN, **plain)
    fixed = GDUNet().resolved([known])
    arrays = [
        fixed.estimate([one], (1, 21, 21), first).array
        for one, first in ((known, None), (known, start), (sample(tile, **KNOWN), None))
    ]
    assert not any(np.array_equal(arrays[i], arrays[j]) for i, j in ((0, 1), (0, 2), (1, 2)))


def test_a_given_kernel_stays_as_it_is():
    made = scene((64, 70), (9, 9), beads=4)
    fixed = GDUNet(kernel="given").resolved([made.sample()])
    first = kernel_of((9, 9), 1.7)
    np.testing.assert_array_equal(
        fixed.estimate([made.sample()], (1, 9, 9), first).array, first.array
    )
    with pytest.raises(ValueError, match="needs a kernel"):
        fixed.estimate([made.sample()], (1, 9, 9), None)
    assert fixed(made.seen, made.blur).kernel is None


@pytest.mark.parametrize("kernel", ["found", "given"])
def test_a_trace_ends_where_the_method_ends(kernel):
    made = scene((64, 70), (21, 21), sigma=2.0, beads=9)
    fixed = GDUNet(kernel=kernel).resolved([made.sample()])
    trace, estimate = fixed.trace(made.seen, made.blur), fixed(made.seen, made.blur)
    stages = 4 if kernel == "found" else 2  # with a given kernel the larger ones only
    assert trace["image"].shape == (stages, 64, 70)
    assert trace["kernel"].shape == (stages, 21, 21)
    torch.testing.assert_close(trace["image"][-1], estimate.image)
    if kernel == "found":
        torch.testing.assert_close(trace["kernel"][-1], estimate.kernel)
    else:
        torch.testing.assert_close(trace["kernel"][-1], made.blur.basis[0])


# Tiles


@pytest.mark.parametrize("size", [200, 203, 207, 208, 97])
@pytest.mark.parametrize("halo", [0, 8, 24])
def test_tiles_of_a_network_begin_where_its_bins_begin(size, halo):
    grid = Grid((1, 1, 1, size, 64), (1, 64, 64), (0, halo, halo), (1, 8, 8))
    tiles = [grid.tile(index) for index in grid]
    for tile in tiles:
        (_, (start, stop), _), (_, (first, last), _) = tile.core, tile.read
        assert first % 8 == 0
        assert (last - first) == grid.tile_shape[1]
        assert first <= max(start - halo, 0)
        assert last >= min(stop + halo, size)
        assert last <= size
    first, second = halves(tiles[0].core, multiple_of=(1, 8, 8))
    for part in (first, second):
        assert grid.around((0, 0, 0, 0, 0), part).read[1][0] % 8 == 0
    with pytest.raises(ValueError, match="must be multiples"):
        Grid((1, 1, 1, size, 64), (1, 60, 64), (0, 0, 0), (1, 8, 8))


def test_the_grid_is_laid_in_multiples():
    stack = stack_of(np.zeros((515, 700), np.float32))
    probe = Halo(13, (0.1,) * 13 + (1e-4,) * 20)
    laid = lay(
        stack, (1, 21, 21), GDUNet().arrays, lambda axis: probe, multiple_of=8,
        tile=None, memory=35_000_000, seam=1e-3, accept_seam=False,
    )  # fmt: skip
    assert laid.grid.multiple_of == (1, 8, 8)
    assert laid.grid.halo == (0, 16, 16)
    assert laid.memory <= 35_000_000
    asked = lay(
        stack, (1, 21, 21), GDUNet().arrays, lambda axis: probe, multiple_of=8,
        tile=(1, 100, 100), memory=35_000_000, seam=1e-3, accept_seam=False,
    )  # fmt: skip
    assert asked.grid.core == (1, 104, 104)


def tiled_and_whole(array, halo):
    stack = stack_of(array)
    plan = nd.plan(stack, "gdunet", kernel=kernel_of((15, 15), 1.8), judge=False)
    plan = replace(plan, grid=Grid(plan.grid.shape, (1, 64, 72), (0, halo, halo), (1, 8, 8)))
    image = np.zeros(array.shape, np.float32)
    for index in plan.grid:
        _, y, x = plan.tile(index).core
        image[slice(*y), slice(*x)] = restore_tile(plan, stack, index).image[0]
    whole = replace(plan, grid=Grid(plan.grid.shape, (1, *array.shape)))
    facts = plan.channels[0].facts
    return image, restore_tile(whole, stack, (0, 0, 0, 0, 0)).image[0], facts.white - 100


def test_tiled_equals_whole():
    """0.5 % of the range is asked for; aligned tiles are much nearer."""
    tiled, whole, span = tiled_and_whole(counts((203, 190)), halo=32)
    assert np.sqrt(np.mean((tiled - whole) ** 2)) / span < 1e-3
    assert np.abs(tiled - whole).max() / span < 5e-3
    bare, _, _ = tiled_and_whole(counts((203, 190)), halo=0)
    assert np.abs(bare - whole).max() / span > 0.01


def test_flat_fields_show_no_seams():
    random = np.random.default_rng(3)
    flat = random.poisson(500, (203, 190)).astype(np.float32)
    tiled, whole, _ = tiled_and_whole(flat, halo=32)
    np.testing.assert_allclose(tiled, whole, atol=0.02 * flat.std())
    # Rows beside a seam look like all others.
    steps = np.abs(np.diff(tiled, axis=0)).mean(axis=1)
    assert steps[[63, 127, 191]].max() < steps.mean() + 4 * steps.std()


def test_where_nothing_was_seen_tiles_know_no_more_than_the_whole():
    """A mosaic is padded: some tiles are nothing but that, others a part."""
    padded = counts((203, 190))
    padded[:, 60:] = 100
    tiled, whole, span = tiled_and_whole(padded, halo=32)
    assert np.abs(tiled - whole).max() / span < 5e-3
    assert (tiled[:, 72:] == 100).all()
    assert (whole[:, 72:] == 100).all()
    assert np.abs(whole[:, :60] - padded[:, :60]).mean() > 1


# In plans


def planned_and_restored(array):
    plan = nd.plan(stack_of(array), "gdunet")
    return plan, restore_tile(plan, stack_of(array), (0, 0, 0, 0, 0)).image[0]


def test_gain_and_offset_of_the_camera_change_only_those_of_the_result():
    """With all numbers and the kernel found anew."""
    array = counts((110, 100))
    (one, image), (two, other) = (planned_and_restored(a) for a in (array, 2 * array + 300))
    np.testing.assert_allclose(one.kernel.array, two.kernel.array, atol=1e-5)
    span = one.channels[0].method.white - 100
    np.testing.assert_allclose(other, 2 * image + 300, rtol=0, atol=1e-3 * span)


@pytest.mark.parametrize("noise", ["normal", "poisson"])
def test_of_pure_noise_less_is_left(noise):
    random = np.random.default_rng(0)
    array = random.normal(100, 5, (110, 100)) if noise == "normal" else random.poisson(
        20, (110, 100)
    )  # fmt: skip
    stack = stack_of(array.astype(np.float32))
    # A plan finds out that there is nothing else.
    plan, image = planned_and_restored(array.astype(np.float32))
    assert plan.kernel.report["verdict"] == "nothing to deblur"
    np.testing.assert_array_equal(image, stack.read(0, 0)[0])
    # With a kernel that is said to be right, the network makes less of it, not more.
    plan = nd.plan(stack, GDUNet(kernel="given"), kernel=kernel_of((15, 15), 1.8))
    image = restore_tile(plan, stack, (0, 0, 0, 0, 0)).image[0]
    assert image.var() < 0.5 * array.var()
    assert abs(image.mean() - array.mean()) < 0.1 * array.std()


def test_a_volume_has_one_kernel_of_one_plane():
    volume = np.stack([counts((80, 84), seed=i) for i in range(3)])
    plan = nd.plan(stack_of(volume, "zyx"), "gdunet")
    assert plan.kernel.shape[0] == 1
    assert plan.channels[0].method.kernel == "given"
    image = restore_tile(plan, stack_of(volume, "zyx"), (0, 0, 0, 0, 0)).image
    assert image.shape == volume.shape
    assert np.isfinite(image).all()


def test_each_tile_and_each_frame_may_have_its_own_kernel():
    movie = stack_of(np.stack([counts((80, 84), seed=i) for i in range(2)]), "tyx")
    plan = nd.plan(movie, "gdunet", scope="channel-time")
    assert plan.kernel.array.shape[0] == 2
    back = nd.plan(stack_of(movie.data.compute()[::-1], "tyx"), "gdunet", scope="channel-time")
    np.testing.assert_allclose(back.kernel.array[::-1], plan.kernel.array, atol=1e-6)
    plan = nd.plan(movie, "gdunet", scope="tile", shape=(1, 21, 21))
    restored = restore_tile(plan, movie, (1, 0, 0, 0, 0))
    assert restored.kernel.shape == (1, 21, 21)
    assert restored.kernel.sum() == pytest.approx(1, abs=1e-4)


def test_tiles_begin_with_what_the_training_began_with():
    size = (1.0, 0.1, 0.1)
    places = np.arange(31) - 15

    def sigma(**optics):
        kernel = GDUNet().first_kernel((1, 31, 31), size, Facts(**optics))
        return (kernel.array.sum((0, 1, 2, 3)) @ places**2) ** 0.5

    assert sigma() == pytest.approx(3.1, rel=0.05)
    limit = Gaussian.from_optics(1.2, 0.52, 1.515).sigma[2] / 0.1
    assert sigma(na=1.2, wavelength=0.52) == pytest.approx(1.5 * limit, rel=0.05)


def test_small_images_are_restored_with_smaller_kernels():
    stack = stack_of(counts((64, 64))[:20, :24])
    plan = nd.plan(stack, "gdunet")
    assert plan.kernel.shape[1] <= 10
    assert plan.kernel.shape[2] <= 12
    image = restore_tile(plan, stack, (0, 0, 0, 0, 0)).image
    assert image.shape == (1, 20, 24)
    assert np.isfinite(image).all()


@pytest.mark.parametrize("shape", [(40, 1), (1, 40), (5, 5)])
def test_tiny_images_need_a_kernel(shape):
    stack = stack_of(counts((64, 64))[: shape[0], : shape[1]])
    with pytest.raises(ValueError, match="too small to find a kernel in"):
        nd.plan(stack, "gdunet")
    method = GDUNet(kernel="given").resolved([sample(counts(), **KNOWN)])
    tile = torch.from_numpy(counts((64, 64))[: shape[0], : shape[1]].copy())
    image = method(tile, Blur(torch.from_numpy(kernel_of((9, 9)).at().copy()))).image
    assert image.shape == shape
    assert bool(image.isfinite().all())
    with pytest.raises(ValueError, match="finds no kernel of 9 × 1 px"):
        replace(method, kernel="found")(tile, Blur(torch.ones(1, 9, 1) / 9))


def test_colours_share_a_kernel():
    array = np.clip(np.stack([counts((70, 76), seed=i) for i in range(3)]) / 5, 0, 255)
    stack = Stack(Pixels(array.astype(np.uint8), "cyx"), "cyx", rgb=True)
    plan = nd.plan(stack, "gdunet")
    assert plan.kernel.array.shape[1] == 1
    assert restore_tile(plan, stack, (0, 2, 0, 0, 0)).image.shape == (1, 70, 76)


def test_saturated_pixels_are_filled():
    array = counts((70, 76))
    array[30:33, 40:44] = np.nan
    plan = nd.plan(stack_of(array), "gdunet")
    image = restore_tile(plan, stack_of(array), (0, 0, 0, 0, 0)).image[0]
    assert np.isfinite(image).all()


def test_kernels_of_volumes_are_refused_in_plain_words():
    volume = stack_of(np.stack([counts((80, 84), seed=i) for i in range(3)]), "zyx")
    with pytest.raises(ValueError, match="gdunet finds kernels of one plane"):
        nd.plan(volume, "gdunet", shape=(3, 15, 15))
    solid = Kernel(np.ones((3, 5, 5)))
    with pytest.raises(ValueError, match="one plane"):
        nd.plan(volume, "gdunet", kernel=solid)


def test_plans_cut_where_the_network_bins():
    stack = stack_of(counts((203, 190)))
    plan = nd.plan(stack, "gdunet", kernel=kernel_of((15, 15), 1.8), tile=(1, 60, 70))
    assert plan.grid.multiple_of == (1, 8, 8)
    assert plan.grid.core == (1, 64, 72)
    assert Plan.from_dict(plan.to_dict()).key == plan.key
    image = np.zeros((203, 190), np.float32)
    for index in plan.grid:
        _, y, x = plan.tile(index).core
        image[slice(*y), slice(*x)] = restore_tile(plan, stack, index).image[0]
    whole = replace(plan, grid=Grid(plan.grid.shape, (1, 203, 190)))
    facts = plan.channels[0].facts
    difference = np.abs(image - restore_tile(whole, stack, (0, 0, 0, 0, 0)).image[0])
    assert difference.max() / (facts.white - facts.background) < plan.seam


def test_a_given_kernel_needs_no_search():
    stack = stack_of(counts((80, 84)))
    first = kernel_of((15, 15), 1.8)
    plan = nd.plan(stack, GDUNet(kernel="given"), kernel=first)
    np.testing.assert_array_equal(plan.kernel.array, first.array)
    with pytest.raises(ValueError, match="gdunet needs a kernel"):
        nd.plan(stack, GDUNet(kernel="given"))


def test_a_sharp_image_is_left_as_it_is():
    random = np.random.default_rng(0)
    spots = np.zeros((128, 128))
    spots[tuple(random.integers(0, 128, (2, 300)))] = random.uniform(200, 1000, 300)
    sharp = random.poisson(spots + 10).astype(np.float32)
    plan = nd.plan(stack_of(sharp), "gdunet", facts=Facts(gain=1.0, offset=0.0, read_noise=0.0))
    assert plan.kernel.report["verdict"] == "nothing to deblur"
    assert "nothing to deblur: the image is as sharp as its pixels" in plan.summary()
    np.testing.assert_array_equal(np.asarray(nd.deconvolve(plan, stack_of(sharp))).squeeze(), sharp)


def test_several_starts_are_one_kernel():
    samples = [sample(counts(), **KNOWN)]
    found = GDUNet().resolved(samples).estimate(samples, (1, 31, 31), None)
    assert len(found.report["starts"]) == 4
    few = GDUNet().resolved(samples).estimate(samples, (1, 9, 9), None)
    assert len(few.report["starts"]) == 1
    given = GDUNet().resolved(samples).estimate(samples, (1, 31, 31), kernel_of((31, 31), 2.0))
    assert len(given.report["starts"]) == 1


def test_kernels_may_change_with_depth():
    # In focus at the top, less and less below.
    planes = [counts((128, 120), sigma=1.0 + 0.4 * z, seed=0) for z in range(6)]
    stack = stack_of(np.stack(planes), "zyx")
    plan = nd.plan(stack, "gdunet", scope="field")
    field = plan.fields[0]
    assert field.grid == (len(field.report["depths"]), 1, 1)
    assert field.nodes[0] == tuple(field.report["depths"])
    assert len(field.nodes[0]) > 2
    widths = field.maps["fwhm"].ravel()
    assert widths[-1] > 1.2 * widths[0]
    said = [note for note in plan.notes if "kernel that was found is" in note]
    assert len(said) == 1
    assert "believed" in said[0] or "doubtful" in said[0]
    assert nd.deconvolve(plan, stack).compute().shape == (6, 128, 120)
    with pytest.raises(ValueError, match="this image has one plane"):
        nd.plan(stack_of(planes[0]), "gdunet", scope="field")
