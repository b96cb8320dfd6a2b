"""Workers killed and hung, the scheduler killed: the same bytes, or one sentence and a resume."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import dask
import psutil
import pytest
import zarr
from distributed import Client

from by_hand import numbers, plan_of, third_party, tree_hash  # noqa: F401
from napari_deblur import many
from napari_deblur.batch import run
from napari_deblur.opening import open_stack
from napari_deblur.results import open_result
from napari_deblur.verifying import verify

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals on Windows"),
]


KILLS = 6  # a new worker takes longer than the pause between two on a busy machine


@pytest.fixture
def plan(tmp_path, third_party):  # noqa: F811
    zarr.save_array(tmp_path / "raw.zarr", numbers((16, 40, 48)))
    stack = open_stack(tmp_path / "raw.zarr", "zyx", (0.3, 0.1, 0.1))
    return plan_of(stack, core=(2, 8, 8), method=third_party.Slow(seconds=0.25))


def workers():
    """The worker processes of a LocalCluster of ours."""
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.Error:
            pass
    return found


def sound(path, plan, whole):
    """Complete, and in bytes what one process makes."""
    list(run(plan, whole))
    assert list(verify(path)) == []
    assert tree_hash(path) == tree_hash(whole)


def test_a_worker_killed_every_few_seconds(tmp_path, plan):
    chance, kills, begun = random.Random(7), [], time.monotonic()
    pause = chance.uniform(4, 8)
    for step in run(plan, tmp_path / "a.zarr", workers=2):
        rested = time.monotonic() - max([begun, *kills]) > pause
        if step.phase == "tiles" and rested and len(kills) < KILLS:
            os.kill(chance.choice(workers()).pid, signal.SIGKILL)
            kills.append(time.monotonic())
            pause = chance.uniform(4, 8)
    print(f"{len(plan)} tiles, {len(kills)} workers killed, {time.monotonic() - begun:.0f} s")
    assert step.phase == "complete"
    assert len(kills) >= 2
    sound(tmp_path / "a.zarr", plan, tmp_path / "one.zarr")


def test_a_worker_that_hangs_is_given_up(tmp_path, plan):
    stopped = None
    with dask.config.set({"distributed.scheduler.worker-ttl": "15s"}):
        begun = time.monotonic()
        for step in run(plan, tmp_path / "a.zarr", workers=2):
            if step.phase == "tiles" and step.done >= 20 and stopped is None:
                stopped = workers()[-1]
                os.kill(stopped.pid, signal.SIGSTOP)
    print(f"{len(plan)} tiles, one of 2 workers stopped for ever, {time.monotonic() - begun:.0f} s")
    assert step.phase == "complete"
    sound(tmp_path / "a.zarr", plan, tmp_path / "one.zarr")


def service(*words):
    return subprocess.Popen(
        [sys.executable, "-m", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def test_a_scheduler_that_dies_ends_the_run_in_a_sentence_and_it_goes_on(tmp_path, plan):
    file = tmp_path / "scheduler.json"
    scheduler = service(
        "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard",
        "--host", "127.0.0.1", "--scheduler-file", str(file),
    )  # fmt: skip
    worker = service(
        "distributed.cli.dask_worker", "--scheduler-file", str(file), "--nthreads", "1",
        "--no-dashboard", "--death-timeout", "20", "--local-directory", str(tmp_path),
    )  # fmt: skip
    try:
        while not file.exists() or not file.read_text():
            time.sleep(0.1)
        address, deaths = json.loads(file.read_text())["address"], []

        def until_it_dies():
            for step in run(plan, tmp_path / "a.zarr", scheduler=address):
                if step.phase == "tiles" and step.done >= 20 and not deaths:
                    scheduler.kill()
                    deaths.append(time.monotonic())

        with pytest.raises((OSError, RuntimeError)) as caught:
            until_it_dies()
        said = str(caught.value)
        print(f"said after {time.monotonic() - deaths[0]:.0f} s: {said}")
        assert "\n" not in said
    finally:
        for process in (scheduler, worker):
            process.kill()
            process.wait()
    first, *_, last = run(plan, tmp_path / "a.zarr")
    print(f"went on after {first.done} tiles")
    assert first.done >= 20
    assert last.phase == "complete"
    sound(tmp_path / "a.zarr", plan, tmp_path / "one.zarr")


def test_small_images_are_done_side_by_side_and_a_killed_worker_is_replaced(tmp_path, job):
    """Two workers plan and restore one image each; the images of the dead one are done again."""
    (tmp_path / "in").mkdir()
    for n in range(24):
        values = numbers((8, 200, 200), seed=n)
        zarr.create_array(
            tmp_path / f"in/{n:02}.zarr", data=values, dimension_names=["z", "y", "x"]
        )
    killed = False
    found = []
    for step in many.run(job, [str(tmp_path / "in")], tmp_path / "out", workers=2):
        if step.outcome is not None:
            found.append(step.outcome)
        if len(found) == 3 and not killed:
            killed = True
            os.kill(workers()[-1].pid, signal.SIGKILL)
    assert [one.state for one in found] == ["complete"] * 24
    pids = set()
    for n in range(24):
        path = tmp_path / f"out/{n:02}.deblur.zarr"
        assert list(verify(path)) == []
        pids |= {file.name.split("-")[-2] for file in (path / "ledger").glob("*.jsonl")}
    assert len(pids) >= 2
    assert str(os.getpid()) not in pids
    print(f"24 images by {len(pids)} processes")
    alone = [str(tmp_path / "in/07.zarr")]
    list(many.run(job, alone, tmp_path / "alone"))
    images = [open_result(tmp_path / at / "07.deblur.zarr").levels[0] for at in ("out", "alone")]
    assert (images[0][:] == images[1][:]).all()


CLIENT = """
import sys
import third_party
from by_hand import numbers, plan_of
from napari_deblur import system
from napari_deblur.batch import run
from napari_deblur.opening import open_stack
stack = open_stack(sys.argv[1], "zyx", (0.3, 0.1, 0.1))
plan = plan_of(stack, core=(2, 8, 8), method=third_party.Gated(sys.argv[3]))
with system.stopping_on_signals():
    list(run(plan, sys.argv[2], scheduler=sys.argv[4]))
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("what", ["overwritten", "removed"])
def test_workers_of_a_run_that_was_stopped_leave_what_comes_after_it_alone(
    tmp_path,
    plan,
    third_party,  # noqa: F811
    how,
    what,
):
    """Scheduler and worker live on; the worker is in a tile of the old run until the end."""
    file, path = tmp_path / "scheduler.json", tmp_path / "a.zarr"
    plan = replace(plan, channels=(replace(plan.channels[0], method=third_party.Slow(0.0)),))
    running = [
        service(
            "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard",
            "--host", "127.0.0.1", "--scheduler-file", str(file),
        ),
        service(
            "distributed.cli.dask_worker", "--scheduler-file", str(file), "--nthreads", "2",
            "--no-dashboard", "--no-nanny", "--local-directory", str(tmp_path),
        ),
    ]  # fmt: skip
    try:
        while not file.exists() or not file.read_text():
            time.sleep(0.1)
        address = json.loads(file.read_text())["address"]
        given = [str(tmp_path / "raw.zarr"), str(path), str(tmp_path), address]
        client = subprocess.Popen([sys.executable, "-c", CLIENT, *given], stderr=subprocess.DEVNULL)
        running.append(client)
        while not (tmp_path / "begun").exists():
            time.sleep(0.1)
        client.send_signal(how)
        assert client.wait(60) != 0
        if what == "removed":
            shutil.rmtree(path)
        else:
            *_, last = run(plan, path, overwrite=True)
            assert last.phase == "complete"
        (tmp_path / "gate").touch()
        with Client(address, set_as_default=False) as looking:
            while any(looking.run(lambda dask_worker: len(dask_worker.active_threads)).values()):
                time.sleep(0.1)
    finally:
        for process in running:
            process.kill()
            process.wait()
    if what == "removed":
        assert not path.exists()
    else:
        sound(path, plan, tmp_path / "one.zarr")
