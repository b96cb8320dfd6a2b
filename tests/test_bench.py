"""A tiny benchmark runs, says the right things, and writes its three files."""

import getpass
import json
import platform
import re
import subprocess
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from napari_deblur import cli
from napari_deblur.bench import commands, speed
from napari_deblur.bench.baselines import Task
from napari_deblur.bench.children import Child
from napari_deblur.bench.facts import ratios, spread
from napari_deblur.bench.kernels import KERNELS
from napari_deblur.bench.rivals import RIVALS
from napari_deblur.bench.scenes import OBJECTS, Case
from napari_deblur.bench.tracing import curve_of, restored, skimage_trace, trace_of
from napari_deblur.methods.blind import Blind
from napari_deblur.registry import methods

TINY = Case("filaments", "gaussian", 300, (40, 44))


def call(*arguments, status=0):
    done = CliRunner().invoke(cli.app, ["bench", *(str(a) for a in arguments)])
    assert done.exit_code == status, done.output
    return " ".join(done.output.split())


@pytest.fixture
def shortly(monkeypatch):
    monkeypatch.setattr(speed, "QUICK", (((32, 32), (5, 5)),))
    monkeypatch.setattr(speed, "PAUSE", 0.0)


def test_speed_writes_ratios_a_table_and_a_picture(tmp_path, shortly):
    call("speed", "--quick", "--only", "floor,deconwolf", "--only", "richardson-lucy",
         "--rounds", 2, "--threads", 1, "--out", tmp_path)  # fmt: skip
    result = json.loads((tmp_path / "speed.json").read_text("utf-8"))
    rows = {row["name"]: row for row in result["rows"]}
    assert list(rows) == ["floor", "richardson-lucy", "deconwolf"]
    assert rows["floor"]["over floor"] == {"median": 1, "low": 1, "high": 1}
    for name in ("floor", "richardson-lucy"):
        assert rows[name]["seconds"]["median"] > 0
        assert len(rows[name]["rounds"]["wall"]) == 2
    assert rows["deconwolf"]["missing"] in ("not on PATH", "takes volumes only")
    text = (tmp_path / "speed.md").read_text("utf-8")
    assert "| four transforms, planned, in place | 1.00 | 1.00 to 1.00 |" in text
    assert (tmp_path / "speed.png").read_bytes().startswith(b"\x89PNG")
    assert result["machine"]["threads"] == 1
    assert {"numpy", "scipy", "torch"} <= set(result["versions"])
    for file in ("speed.json", "speed.md"):
        _names_no_machine((tmp_path / file).read_text("utf-8"), tmp_path)


def _names_no_machine(text, folder):
    for secret in (platform.node(), str(Path.home()), str(folder), sys.prefix):
        assert len(secret) < 2 or secret not in text
    assert not re.search(rf"\b{re.escape(getpass.getuser())}\b", text)


def test_memory_counts_padded_arrays():
    task = {"shape": [96, 96, 96], "kernel": [9, 9, 9], "threads": 1, "device": "cpu"}
    with Child(1) as child:
        found = child.ask("memory", rival="floor", iterations=1, **task)
    padded = 4 * 105 * 105 * 108
    # The spectrum that is transformed, and the image that isn't.
    assert 1 < found["bytes"] / padded < 4


def test_runs_are_measured_beside_the_same_work_in_memory(tmp_path, monkeypatch):
    from napari_deblur.bench import runs, worker

    class Here(nullcontext):
        """Does in this process what a child would."""

        def __enter__(self):
            return self

        def ask(self, do, **details):
            return json.loads(json.dumps(worker.of_runs(do, details)))

    monkeypatch.setattr(runs, "Child", Here)
    monkeypatch.setattr(runs, "TINY", runs._Size(8_000_000, (1, 2), 2, 96, 9_000_000, 64, 1, 5))
    call("memory", "--quick", "--only", "large-stack,chunked-run", "--rounds", 1, "--threads", 1,
         "--out", tmp_path)  # fmt: skip
    result = json.loads((tmp_path / "memory.json").read_text("utf-8"))
    one, two = result["large-stack"]
    assert (one["times"], two["times"]) == (1, 2)
    assert two["bytes"] == pytest.approx(2 * one["bytes"], rel=0.1)
    assert one["done"] == two["done"] == 2 < one["tiles"] < two["tiles"]
    assert 0 < one["planned"] <= one["allowed"]
    run = result["chunked-run"]
    assert run["tiles"] > 1
    assert run["whole"] > run["planned"]
    assert run["transformed"] >= run["read"] > 1
    assert [len(run["rounds"][way]) for way in ("whole", "tiles", "run")] == [1, 1, 1]
    assert run["cpu: run over whole"]["median"] > 0
    assert 0 <= run["waiting"]["median"] <= run["idle"]["median"] < 1
    text = (tmp_path / "memory.md").read_text("utf-8")
    assert "## A run in tiles, over the same work in memory" in text
    assert "halos: tiles in memory ÷ whole in memory" in text
    _names_no_machine(text, tmp_path)


def test_quality_of_stopping_and_of_all_methods(tmp_path, monkeypatch):
    from napari_deblur.bench import catalogue, stopping

    monkeypatch.setattr(stopping, "QUICK", (TINY,))
    monkeypatch.setattr(stopping, "AUTOMATIC", ("richardson-lucy",))
    monkeypatch.setattr(catalogue, "QUICK", (TINY,))
    monkeypatch.setattr(catalogue, "restoring", lambda: ["richardson-lucy", "wiener"])
    call("quality", "--quick", "--only", "stopping,methods", "--threads", 1, "--out", tmp_path)
    result = json.loads((tmp_path / "quality.json").read_text("utf-8"))
    (row,) = result["stopping"]
    assert row["methods"]["wiener"]["loss"] >= 0
    found = row["methods"]["richardson-lucy"]
    assert found["best"] >= found["decibels"] > row["blurred"]
    assert result["stopping, in short"]["wiener"]["worst case"] == str(TINY)
    assert {r["method"] for r in result["methods"]} == {"richardson-lucy", "wiener"}
    text = (tmp_path / "quality.md").read_text("utf-8")
    assert "## Automatic numbers against the best ones" in text
    assert "**+" in text
    assert (tmp_path / "quality.png").is_file()


def test_photographs_are_restored(tmp_path):
    from PIL import Image

    picture = (255 * OBJECTS["filaments"]((72, 80), np.random.default_rng(1))).astype("u1")
    Image.fromarray(picture).save(tmp_path / "curves.png")
    call("quality", "--quick", "--only", "wiener", "--threads", 1, "--photos", tmp_path,
         "--out", tmp_path)  # fmt: skip
    result = json.loads((tmp_path / "quality.json").read_text("utf-8"))
    assert [row["noise"] for row in result["wiener"]] == [0, 0.5, 1]
    assert list(result["wiener"][0]["gains"]) == ["curves"]
    assert result["wiener"][0]["mean gain of the best constant"] > 1


def test_blind_finds_a_kernel_judges_planted_ones_and_keeps_parts(tmp_path, monkeypatch):
    from napari_deblur.bench import blind_scenes, finding

    tiny = blind_scenes.Scene("beads", "gaussian", 300.0, (64, 64))
    for part in ("planes", "trust"):
        monkeypatch.setitem(blind_scenes.QUICK, part, (tiny,))
    nothing = blind_scenes.Scene("nothing", "none", 0.0, (48, 48))
    monkeypatch.setitem(blind_scenes.QUICK, "sharp", (nothing,))
    # The family of the truth alone: the rest takes its time.
    monkeypatch.setattr(finding, "Blind", partial(Blind, ("gaussian",), refine=False))
    call("blind", "--quick", "--only", "planes", "--threads", 1, "--out", tmp_path)
    call("blind", "--quick", "--only", "trust,motion", "--threads", 1, "--out", tmp_path)
    result = json.loads((tmp_path / "blind.json").read_text("utf-8"))
    (row,) = result["planes"]["rows"]
    assert row["blind"]["ncc"] > 0.97
    assert row["blind"]["gain"] > row["in focus"]["gain"]
    judged, noise = result["trust"]["rows"]
    verdicts = {one["kernel"]: one["verdict"] for one in judged["judgements"]}
    assert verdicts["true"] == verdicts["found"] == "believe"
    assert verdicts["other defocus"] == verdicts["too wide"] == "doubtful"
    assert noise["verdict"] == "nothing to deblur"
    text = (tmp_path / "blind.md").read_text("utf-8")
    assert "## Planes" in text
    assert "wrong kernels" in text
    assert "## Motion" not in text  # without photographs
    assert not (tmp_path / "blind.png").exists()
    _names_no_machine(text, tmp_path)


def test_the_network_is_measured_beside_classical_methods(tmp_path, monkeypatch):
    from napari_deblur.bench import gdunet

    monkeypatch.setattr(gdunet, "Blind", partial(Blind, ("gaussian",), refine=False))
    monkeypatch.setattr(gdunet, "MOST", 20)
    call("gdunet", "--quick", "--threads", 1, "--rounds", 1, "--out", tmp_path)
    result = json.loads((tmp_path / "gdunet.json").read_text("utf-8"))
    (row,) = result["methods"]["rows"]
    best = row["Richardson-Lucy, true kernel, best iteration"]
    assert best["psnr"] > row["input"]["psnr"]
    for way in ("GDUNet", "GDUNet from the families' kernel", "blind (families)"):
        assert 0.3 < row[way]["ncc"] <= 1
        assert row[way]["aligned"] > 10
    assert [r["peak"] for r in result["sharp"]["rows"]] == [100, 1000]
    for one in result["noise"]["rows"]:
        assert one["deviation after"] < one["deviation before"]
    text = (tmp_path / "gdunet.md").read_text("utf-8")
    assert "| kernel SNR in dB |" in text
    _names_no_machine(text, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["speed", "--only", "nobody"], 'no rival "nobody"; there are: floor,'),
        (["quality", "--only", "nothing"], 'no part "nothing"; there are: time, stopping,'),
        (["blind", "--only", "nothing"], 'no part "nothing"; there are: planes, volumes,'),
        (["quality", "--only", "wiener"], '"wiener" needs a folder: --photos FOLDER'),
        (["quality", "--photos", "no-such-folder"], "no-such-folder is no folder"),
    ],
)
def test_what_is_not_there_is_said(arguments, sentence):
    assert sentence in call(*arguments, status=1)


def test_the_missing_extra_is_named(monkeypatch):
    monkeypatch.setattr(commands, "find_spec", lambda name: None)
    assert 'pip install "napari-deblur[bench]"' in call("speed", status=1)


def test_a_rival_that_fails_is_listed_with_its_reason():
    with Child(1) as child:
        task = {"shape": [16, 16], "kernel": [3, 3], "threads": 1, "device": "cpu"}
        assert child.ask("prepare", rival="redlionfish", **task)["missing"]
        assert child.ask("prepare", rival="scipy", **task) == {}
        assert child.ask("run", iterations=1, device="cpu")["wall"] > 0
        child.process.kill()
        child.process.wait()
        assert child.ask("run", iterations=1, device="cpu") == {"missing": "its process ended"}


def test_ratios_are_taken_round_by_round():
    # The second round was ten times slower for both.
    assert ratios([2, 20, 2], [1, 10, 1]) == {"median": 2, "low": 2, "high": 2}
    assert spread([1, 2, 3]) == {"median": 2, "low": 1.5, "high": 2.5}


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_sum_to_one_around_their_centre(name):
    kernel = KERNELS[name]()
    assert kernel.min() >= 0
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    if name != "speckled":
        for axis, n in enumerate(kernel.shape):
            others = tuple(a for a in range(kernel.ndim) if a != axis)
            centroid = (kernel.sum(axis=others) * np.arange(n)).sum()
            assert centroid == pytest.approx(n // 2, abs=0.01)


@pytest.mark.parametrize("thing", OBJECTS)
def test_scenes_repeat_and_are_as_bright_as_asked(thing):
    case = Case(thing, "airy", 300, (48, 40))
    one, two = case.scene(), case.scene()
    assert torch.equal(one.tile, two.tile)
    assert float(one.truth.max()) == pytest.approx(310, rel=1e-4)
    assert one.psnr(one.truth + 3) == pytest.approx(40)


def test_an_estimated_camera_knows_no_more_than_the_counts():
    facts = TINY.scene("estimated").facts
    assert facts.origins["background"] == "estimated"
    assert facts.background == pytest.approx(10, abs=3)


def test_plain_codes_agree_with_our_method():
    # The same model and start. Where hardly any light was seen, theirs is cut off another way.
    random = np.random.default_rng(0)
    kernel = KERNELS["gaussian"]()
    task = Task(random.poisson(90, (40, 44)).astype(np.float32), kernel)
    by_scipy, by_torch = (RIVALS[name].prepare(task)(4) for name in ("scipy", "torch"))
    np.testing.assert_allclose(by_torch.numpy(), by_scipy, rtol=2e-4, atol=1e-3)
    mean = float(task.image.mean())
    method = methods["richardson-lucy"](4, background=10.0, start=mean, lowest=0.0)
    from napari_deblur.protocols import Blur

    image = method(torch.from_numpy(task.image), Blur(torch.from_numpy(kernel.copy())[None])).image
    inside = tuple(slice((n - 1) // 2, -(n // 2)) for n in kernel.shape)
    away = (slice(8, -8),) * 2
    np.testing.assert_allclose((image - 10)[away], by_scipy[inside][away], rtol=1e-3)


def test_scikit_image_is_followed_step_by_step():
    lucy = pytest.importorskip("skimage.restoration").richardson_lucy
    scene = TINY.scene()
    steps = dict(skimage_trace(scene, 5, subtracted=False))
    theirs = lucy(scene.tile.numpy(), scene.blur.basis[0].numpy(), 5, clip=False)
    np.testing.assert_allclose(steps[5], theirs, rtol=1e-3)


def test_a_trace_ends_where_the_method_does():
    scene = TINY.scene()
    done = restored(methods["richardson-lucy"](iterations=6), scene)
    curve = curve_of(trace_of(done.method, scene.tile, scene.blur, 6), scene)
    assert curve.iterations[-1] == 6
    assert curve.decibels[-1] == pytest.approx(done.decibels, abs=1e-3)
    assert curve.reaches(curve.best[1]) == curve.best[0]


def test_the_worker_prints_nothing_but_answers():
    command = '{"do": "run", "iterations": 1, "device": "cpu"}\n'
    done = subprocess.run(
        [sys.executable, "-m", "napari_deblur.bench.worker"],
        input=command, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert list(json.loads(done.stdout)) == ["missing"]


def test_overhead_of_tiles_is_measured_with_a_scheduler_of_its_own(tmp_path, monkeypatch):
    from napari_deblur.bench import overhead
    from napari_deblur.bench.markdown import markdown

    monkeypatch.setattr(overhead, "WORKERS", 4)
    row = overhead.sending(count=300, seconds=overhead.SHORT, wired=True)
    assert 100 < row["bytes"] / row["count"] < 1000  # ten go in a batch
    assert row["scheduler cpu"] > 0
    assert row["client cpu"] > 0
    few, many = (overhead.begun(count=count) for count in (100, 1000))
    assert many["ledger"] == pytest.approx(10 * few["ledger"], rel=0.02)
    assert many["plan"] - few["plan"] < 10  # a grid is arithmetic
    result = {
        "benchmark": "overhead", "machine": overhead.machine(1, "cpu"), "versions": {},
        "quick": True, "workers": 4, "begin": [few, many],
        "scheduler": [row, {**row, "wired": False, "seconds": overhead.LONG}],
    }  # fmt: skip
    text = markdown(result)
    assert "## Extrapolated to 1 PB of uint16" in text
    assert "A petabyte was not run." in text
    _names_no_machine(text, tmp_path)
