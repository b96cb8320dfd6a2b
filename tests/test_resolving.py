"""Resolution before and after a plan's restoration, and the noise that it leaves."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from typer.testing import CliRunner

import napari_deblur as nd
from napari_deblur import cli
from napari_deblur.bench.scenes import Case
from napari_deblur.methods.identity import Identity
from napari_deblur.methods.richardson_lucy import RichardsonLucy
from napari_deblur.methods.wiener import Wiener
from napari_deblur.opening import open_stack
from napari_deblur.protocols import Facts, Kernel
from napari_deblur.resolution_figure import write_resolution_figure
from napari_deblur.resolving import resolution, uncertainty, write_curves, write_map

FACTS = Facts(gain=1.0, offset=0.0, read_noise=0.0)


def planned(array, axes="yx", method=None, kernel=None, facts=FACTS, **more):
    stack = open_stack(array, axes, **more)
    shape = (5, 5, 5) if kernel is None and axes == "zyx" else (5, 5)
    kernel = Kernel(np.ones(shape)) if kernel is None else kernel
    return nd.plan(stack, method or Identity(), kernel=kernel, facts=facts), stack


@pytest.fixture(scope="module")
def filaments():
    scene = Case("filaments", "gaussian", 400.0, (128, 128)).scene()
    return scene.tile.numpy().astype("u2"), Kernel(scene.blur.basis[0].numpy())


def test_noise_alone_has_no_resolution():
    noise = np.random.default_rng(0).poisson(100, (96, 96)).astype("u2")
    plan, stack = planned(noise)
    found = resolution(plan, stack)
    assert found.before.resolution is None
    assert found.after.resolution is None
    assert found.gain is None
    assert "nothing but noise" in found.rows()["resolution before"]


def test_restoring_sharper_makes_it_finer(filaments):
    image, kernel = filaments
    soft, stack = planned(image, method=RichardsonLucy(2), kernel=kernel)
    sharp, _ = planned(image, method=RichardsonLucy(30), kernel=kernel)
    few, many = resolution(soft, stack), resolution(sharp, stack)
    assert few.before.resolution == many.before.resolution
    assert few.unit == "px"
    assert few.photons
    assert many.after.resolution < few.after.resolution
    assert many.gain > 1


def test_more_light_is_a_finer_resolution(filaments):
    image, kernel = filaments
    dim = np.random.default_rng(0).binomial(image, 0.1).astype("u2")
    found = [resolution(*planned(one, kernel=kernel)).before.resolution for one in (dim, image)]
    assert found[1] < found[0]


def test_identity_changes_nothing_and_numbers_are_decided_anew(filaments):
    image, kernel = filaments
    plan, stack = planned(image, kernel=kernel)
    found = resolution(plan, stack)
    np.testing.assert_array_equal(found.before.correlation, found.after.correlation)
    plan, stack = planned(image, method=Wiener(), kernel=kernel)
    # Half the light has more noise for its brightness.
    assert resolution(plan, stack).method.noise > plan.channels[0].method.noise


def test_without_a_gain_the_noise_is_split(filaments):
    image, kernel = filaments
    counts = image.astype("f4") + np.random.default_rng(0).normal(0, 50, image.shape)
    plan, stack = planned(counts.astype("f4"), kernel=kernel, facts=Facts(noise=50.0, gain=None))
    found = resolution(plan, stack)
    if plan.channels[0].facts.gain is None:
        assert not found.photons
        assert "the gain is not known" in found.rows()["how"]
    assert found.before.resolution is None or found.before.resolution > 4


def test_a_volume_has_shells_in_micrometres():
    scene = Case("mixed", "gaussian 3-D", 300.0, (20, 40, 44)).scene()
    image = scene.tile.numpy().astype("u2")
    kernel = Kernel(scene.blur.basis[0].numpy())
    plan, stack = planned(image, "zyx", RichardsonLucy(5), kernel, pixel_size=(0.3, 0.1, 0.1))
    found = resolution(plan, stack)
    assert found.solid
    assert found.unit == "µm"
    assert 0.2 < found.before.resolution < 2
    part = resolution(plan, stack, ((2, 18), (0, 32), (4, 40)))
    assert part.region == ((2, 18), (0, 32), (4, 40))


def test_the_place_of_most_detail_is_taken():
    image = np.random.default_rng(0).poisson(20, (3, 600, 620)).astype("u2")
    image[1, 200:400, 300:500] += (300 * (np.indices((200, 200)).sum(0) // 9 % 2)).astype("u2")
    plan, stack = planned(image, "zyx", kernel=Kernel(np.ones((5, 5))))
    found = resolution(plan, stack)
    (z, y, x) = found.region
    assert z == (1, 2)
    assert y[1] - y[0] == x[1] - x[0] == 512


def test_the_uncertainty_of_nothing_done_is_the_photons_noise():
    light = np.repeat(np.repeat([[20.0, 400.0]], 100, 0), 50, 1)
    image = np.random.default_rng(0).poisson(light).astype("u2")
    plan, stack = planned(image)
    found = uncertainty(plan, stack, seeds=4)
    assert found.shape == (1, 100, 100)
    assert found[0, :, :45].mean() == pytest.approx(20**0.5, rel=0.05)
    assert found[0, :, 55:].mean() == pytest.approx(400**0.5, rel=0.05)


def test_the_uncertainty_is_about_that_of_repeated_exposures(filaments):
    _, kernel = filaments
    scene = Case("filaments", "gaussian", 400.0, (64, 64)).scene()
    from napari_deblur import ops

    mean = (scene.tile - scene.tile.min()).clamp(min=10)
    method = RichardsonLucy(10)
    random = np.random.default_rng(1)
    exposures = [random.poisson(mean.numpy()).astype("u2") for _ in range(12)]
    plan, stack = planned(exposures[0], method=method, kernel=kernel)
    fixed = plan.channels[0].method
    images = torch.stack(
        [fixed(torch.from_numpy(one.astype("f4")), scene.blur).image for one in exposures]
    )
    true = images.std(dim=0)
    found = torch.from_numpy(uncertainty(plan, stack, seeds=8)[0])
    inner = (slice(8, -8),) * 2
    assert ops.centroid(scene.blur.basis[0]).abs().max() < 0.1
    assert float(found[inner].mean() / true[inner].mean()) == pytest.approx(1, abs=0.2)


def test_a_frame_of_other_brightness_is_measured_in_its_own_counts():
    random = np.random.default_rng(0)
    image = np.stack([random.poisson(level, (64, 64)) for level in (400, 100)]).astype("u2")
    image[:, 20:40, 20:40] += 100
    plan, stack = planned(image, "tyx")
    for time, level in ((0, 400), (1, 100)):
        found = uncertainty(plan, stack, time=time)
        assert found[0, 45:, 45:].mean() == pytest.approx(level**0.5, rel=0.08)


def test_the_plan_of_a_gpu_is_measured_where_there_is_none(filaments, monkeypatch):
    image, kernel = filaments
    plan, stack = planned(image, kernel=kernel)
    here = resolution(plan, stack)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    there = resolution(replace(plan, device="cuda"), stack)
    assert there.after.resolution == here.after.resolution


def test_what_is_written_can_be_read(filaments, tmp_path):
    image, kernel = filaments
    plan, stack = planned(image, kernel=kernel, pixel_size=(1.0, 0.1, 0.1))
    found = resolution(plan, stack)
    write_curves(found, tmp_path / "a.csv")
    table = np.genfromtxt(tmp_path / "a.csv", delimiter=",", names=True)
    np.testing.assert_allclose(table["before"], found.before.correlation, atol=1e-5)
    write_resolution_figure(found, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert np.asarray(picture).std() > 5
    spread = uncertainty(plan, stack, ((0, 1), (0, 40), (0, 50)), seeds=2)
    write_map(spread, tmp_path / "a.tif", plan)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        np.testing.assert_array_equal(file.asarray().squeeze(), spread[0])
        assert 'PhysicalSizeX="0.1"' in file.ome_metadata


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"region": ((0, 1), (0, 200), (0, 20))}, "region 0:200 along y does not lie inside 0:128"),
        ({"time": 1}, "the stack has 1 frames, from 0: there is no 1"),
        ({"channel": 2}, "the stack has 1 channels, from 0: there is no 2"),
    ],
)
def test_what_is_not_there_is_refused(filaments, asked, text):
    plan, stack = planned(filaments[0], kernel=filaments[1])
    with pytest.raises(ValueError, match=text):
        resolution(plan, stack, **asked)
    with pytest.raises(ValueError, match="pass it as stack="):
        resolution(plan)
    with pytest.raises(ValueError, match="seeds is 1"):
        uncertainty(plan, stack, seeds=1)


def call(*arguments, status=0):
    done = CliRunner().invoke(cli.app, [str(a) for a in arguments])
    assert done.exit_code == status, done.output
    return " ".join(done.output.split())


def test_the_command_measures_a_result_and_an_input(filaments, tmp_path):
    image, kernel = filaments
    tifffile.imwrite(tmp_path / "a.tif", image)
    np.savez(tmp_path / "k.npz", array=kernel.array)
    tifffile.imwrite(tmp_path / "k.tif", kernel.at()[0])
    how = ["--method", "richardson-lucy", "--set", "iterations=8", "--kernel", tmp_path / "k.tif"]
    how += ["--gain", "1", "--pixel-size", "0.1,0.1"]
    said = call("resolution", tmp_path / "a.tif", *how, "--csv", tmp_path / "a.csv")
    assert "resolution before" in said
    assert "µm" in said
    assert (tmp_path / "a.csv").is_file()
    call("run", tmp_path / "a.tif", tmp_path / "o.deblur.zarr", *how)
    out = ["--figure", tmp_path / "a.png", "--uncertainty", tmp_path / "u.tif"]
    again = call("resolution", tmp_path / "o.deblur.zarr", *out, "--region", "0:64,0:64")
    assert "measured on 0:1,0:64,0:64" in again
    assert tifffile.imread(tmp_path / "u.tif").squeeze().shape == (64, 64)
    assert (tmp_path / "a.png").is_file()
    refused = call("resolution", tmp_path / "o.deblur.zarr", *out, status=1)
    assert "exists" in refused
    odd = call("resolution", tmp_path / "o.deblur.zarr", "--figure", tmp_path / "a.jpg", status=1)
    assert 'a figure is drawn as .png, and "a.jpg" is none' in odd
    assert json.dumps(said)
