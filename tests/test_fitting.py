"""Plans for those who will do them: processes that share a memory, workers with GPUs."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
import zarr

import napari_deblur as nd
from by_hand import numbers, plan_of, small, stack_of
from napari_deblur import cluster, costing, fitting, many, offers, system
from napari_deblur.batch import run
from napari_deblur.gridding import PROCESS, share_of

MB, GB = 10**6, 10**9


@pytest.fixture
def free(monkeypatch):
    """Sixteen gigabytes are free, or as many as are put in here."""
    held = [16 * GB]
    monkeypatch.setattr(system, "available_memory", lambda: held[0])
    return held


@pytest.fixture
def image(tmp_path):
    zarr.save_array(tmp_path / "raw.zarr", numbers((300, 310)))
    return str(tmp_path / "raw.zarr")


def test_workers_that_do_not_fit_are_refused_before_anything_is_written(tmp_path, free):
    plan, stack = small()
    large = replace(plan, memory=2 * GB)
    assert len(plan) > 8
    with pytest.raises(
        ValueError,
        match=r"8 workers hold 8 × 400 MB \+ 8 × 2 GB for tiles = 19.2 GB, but 16 GB are free: "
        r"use 6 \(--workers 6\), or plan it with less for a task \(--memory 1200MB\)",
    ):
        run(large, tmp_path / "a.zarr", stack, workers=8)
    assert list(tmp_path.iterdir()) == []
    fitting.refuse(large, 6)
    fitting.refuse(replace(large, memory=share_of(16 * GB, 8)), 8)
    fitting.refuse(large, 0)  # as ever: a plan says itself if it is too large
    fitting.refuse(replace(large, device="cuda"), 8)  # they take turns there
    free[0] = PROCESS
    with pytest.raises(ValueError, match="are free: use no workers, or a machine with more"):
        fitting.refuse(large, 2)


def test_workers_without_a_tile_hold_none(free):
    stack = stack_of(numbers((4, 8, 8)))
    plan = replace(plan_of(stack), memory=8 * GB)
    assert len(plan) == 1
    fitting.refuse(plan, 16)
    ((_, said),) = fitting.of_memory(plan, 16)
    assert said == "16 workers hold 16 × 400 MB + 1 × 8 GB for tiles = 14.4 GB, 16 GB are free"


def test_a_tile_that_does_not_fit_is_refused_where_it_is_to_be_done(tmp_path, free):
    plan, stack = small()
    large = replace(plan, memory=20 * GB)
    with pytest.raises(
        ValueError, match=r"a tile needs 20 GB, but 16 GB are free: .*--memory 8000"
    ):
        list(run(large, tmp_path / "a.zarr", stack))
    free[0] = 21 * GB
    list(run(large, tmp_path / "a.zarr", stack))
    free[0] = GB
    assert [one.phase for one in run(large, tmp_path / "a.zarr", stack)] == ["complete"]
    fitting.refuse_alone(replace(large, device="cuda"))
    ((_, said),) = fitting.of_memory(large, 0)
    assert said.startswith("NOT ENOUGH, 1 GB are free")
    assert list(fitting.of_memory(plan, 0)) == []


def test_far_too_many_workers_are_refused_before_a_search(image, job, tmp_path, free, monkeypatch):
    from typer.testing import CliRunner

    from napari_deblur import planning
    from napari_deblur.cli import app

    monkeypatch.setattr(planning, "planning", lambda *_, **__: pytest.fail("planned"))
    for output in (tmp_path / "o.zarr", tmp_path / "folder"):
        done = CliRunner().invoke(app, ["run", image, str(output), "--workers", "50"])
        assert done.exit_code == 1
        assert "50 workers hold 50 × 400 MB before their first tile, but 16 GB" in done.stderr
        assert "use fewer (--workers 20)" in done.stderr


def test_a_plan_made_for_workers_leaves_room_for_all(job, tmp_path, free):
    free[0] = 4 * GB + 200 * MB
    zarr.save_array(tmp_path / "large.zarr", numbers((1000, 1100)))
    job = replace(job, input=str(tmp_path / "large.zarr"))
    alone, shared = job.plan(), job.plan(workers=8)
    assert len(alone) == 1
    assert len(shared) > 1
    assert 8 * (shared.memory + PROCESS) <= 0.8 * free[0]
    assert replace(job, memory="500MB").plan(workers=8).key == alone.key


def test_the_command_says_what_all_workers_hold(job, image, tmp_path, free, monkeypatch):
    from typer.testing import CliRunner

    from napari_deblur.cli import app

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(costing, "seconds", lambda *_: 1.0)
    words = ["run", image, "--method", "richardson-lucy", "--kernel", job.kernel, "--plan"]
    words += ["--set", "iterations=2", "--set", "background=0", "--device", "cpu", "--axes", "yx"]
    done = CliRunner().invoke(app, [*words, "--workers", "4"])
    assert done.exit_code == 0, done.output
    assert "4 workers hold 4 × 400 MB + 1 × " in done.output
    assert "16 GB are free" in done.output


def test_of_many_images_each_is_planned_for_the_workers(job, image, tmp_path, monkeypatch):
    asked = []

    def offered(job, workers, scheduler):
        asked.append((workers, scheduler))
        return {"processes": workers}
        yield

    monkeypatch.setattr(offers, "offered", offered)
    folder = str(tmp_path / "out")
    steps = list(many.run(job, [image, image], folder, plan_only=True, workers=3))
    assert [step.outcome.state for step in steps if step.outcome] == ["planned"] * len(asked)
    assert set(asked) == {(3, None)}


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    offers._tell_of_gpus.cache_clear()


def seen(monkeypatch, **workers):
    asked = []

    def gpus(scheduler, *, wait=False):
        asked.append((scheduler, wait))
        return workers

    monkeypatch.setattr(cluster, "gpus", gpus)
    return asked


@pytest.fixture
def memories(monkeypatch):
    """Ask no workers for their memory: theirs is put in here, by address: (free, limit)."""
    said = {"tcp://a:1": (64 * GB, 0)}
    monkeypatch.setattr(cluster, "memories", lambda scheduler: said)
    monkeypatch.setattr(offers, "RECOUNT", 1e-6)  # ask each time
    return said


def offer(job, **asked):
    steps = offers.offered(job, 0, "tcp://there:1")
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value


def test_a_gpu_that_only_workers_have_is_planned_for(no_gpu, job, image, tmp_path, monkeypatch):
    asked = seen(monkeypatch, one=3 * GB, two=8 * GB, three=None)
    job = replace(job, input=image, output=str(tmp_path / "a.zarr"), device="cuda")
    plan = job.plan(scheduler="tcp://there:1")
    assert asked == [("tcp://there:1", True)]
    assert plan.device == "cuda"
    assert 0 < plan.memory <= 3 * GB // 2
    here = replace(job, device="cpu").plan()
    assert plan.channels == here.channels
    assert np.array_equal(plan.kernel.array, here.kernel.array)
    with pytest.raises(ValueError, match='there is no device "cuda" here'):
        job.plan()


def test_a_gpu_that_nobody_has_is_refused(no_gpu, job, monkeypatch):
    seen(monkeypatch, one=None)
    with pytest.raises(ValueError, match="none of the workers at tcp://there:1 has one"):
        offer(replace(job, device="cuda"))


def test_workers_need_not_be_there_where_the_memory_is_given(no_gpu, job, monkeypatch):
    asked = seen(monkeypatch)
    job = replace(job, device="cuda", memory="8GB")
    assert offer(job) == {"elsewhere": 0}
    assert asked == [("tcp://there:1", False)]


def test_a_plan_for_cpus_takes_what_the_workers_have(no_gpu, job, memories, monkeypatch):
    monkeypatch.setattr(system, "available_memory", lambda: pytest.fail("this is not the machine"))
    assert offer(job) == {"memory": 2 * 2**30}
    memories |= {f"tcp://b:{n}": (8 * GB, 0) for n in range(4)}  # these share it
    assert offer(job) == {"memory": share_of(8 * GB, 4)}
    memories["tcp://c:1"] = 64 * GB, 1500 * MB  # dask ends it when it holds more
    assert offer(job) == {"memory": 1200 * MB - PROCESS}
    memories["tcp://c:1"] = 64 * GB, 400 * MB
    with pytest.raises(ValueError, match="tcp://there:1 have too little memory for any task: "):
        offer(job)
    seen(monkeypatch)
    for device in ("cpu", "auto"):  # what is asked for counts
        assert offer(replace(job, device=device, memory="8GB")) == {}


def test_a_worker_says_what_memory_it_has():
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None,
        memory_limit="3GB",
    ) as there:  # fmt: skip
        said = cluster.memories(there.scheduler_address)
    assert len(said) == 2
    assert {limit for _, limit in said.values()} == {3 * GB}
    assert all(0 < free < 10**14 for free, _ in said.values())


def test_gpus_that_would_lie_idle_are_told_once(no_gpu, job, memories, monkeypatch, caplog):
    asked = seen(monkeypatch, one=3 * GB)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert offer(replace(job, device="auto", memory="1GB")) == {}
    assert asked == [("tcp://there:1", False)]
    assert [r.message for r in caplog.records] == [
        "workers have GPUs, but the plan is for CPUs: use them with --device cuda"
    ]
    assert offer(replace(job, device="cpu", memory="1GB")) == {}
    assert len(asked) == 1


def test_a_result_for_gpus_goes_on_from_a_machine_without(
    no_gpu, job, image, tmp_path, monkeypatch
):
    seen(monkeypatch, one=3 * GB)
    job = replace(job, input=image, output=str(tmp_path / "a.zarr"), device="cuda")
    plan = job.plan(scheduler="tcp://there:1")
    from napari_deblur import creating

    creating.create(job.output_path, plan, job=job.resolved().to_dict()).close()
    seen(monkeypatch, one=7 * GB)
    assert job.plan(scheduler="tcp://there:1").key == plan.key


def test_planning_takes_what_is_free_elsewhere():
    stack = nd.open_stack(numbers((40, 50)), "yx")
    kernel = np.ones((3, 3), np.float32)
    method = nd.methods["richardson-lucy"](iterations=2)
    plan = nd.plan(stack, method, kernel=kernel, device="cuda", elsewhere=GB, judge=False)
    assert plan.device == "cuda"
    with pytest.raises(ValueError, match="one task would need"):
        nd.plan(stack, method, kernel=kernel, device="cuda", elsewhere=2000, judge=False)
