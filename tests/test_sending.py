"""What travels to workers and back, and what happens when the way is cut."""

import errno
import gc
import json
import os
import pickle
import subprocess
import sys
import time
import warnings
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import zarr
from distributed import KilledWorker, LocalCluster

from by_hand import numbers, plan_of, third_party, tree_hash  # noqa: F401
from napari_deblur import connecting, creating, devices, sending, working
from napari_deblur.batch import RunStopped, run
from napari_deblur.bench.wire import Wire
from napari_deblur.cluster import gpus
from napari_deblur.connecting import Line, connected
from napari_deblur.opening import open_stack
from napari_deblur.sending import sent
from napari_deblur.stopping import may_pass
from napari_deblur.tasks import Task, Todo
from napari_deblur.working import Order


@pytest.fixture(scope="module")
def cluster():
    """One worker with four threads, in this process, so that it can be watched."""
    with LocalCluster(
        n_workers=1, threads_per_worker=4, processes=False, protocol="tcp://",
        dashboard_address="127.0.0.1:0", memory_limit=0,
    ) as started:  # fmt: skip
        yield started
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of connections that were torn dask closes not all
        gc.collect()


def on_disk(folder, array):
    zarr.save_array(folder / "raw.zarr", array)
    return open_stack(folder / "raw.zarr", "zyx", (0.3, 0.1, 0.1))


def port_of(cluster):
    return int(cluster.scheduler_address.rpartition(":")[2])


def todo_of(grid):
    return Todo(Task(index) for index in grid)


def test_what_travels_is_small_and_what_is_heavy_is_loaded_once(tmp_path, cluster, monkeypatch):
    kernel = np.random.default_rng(0).random((3, 301, 301))
    plan = plan_of(on_disk(tmp_path, numbers((10, 60, 60))), kernel=kernel)
    heavy = len(pickle.dumps(plan))
    opened, sizes = [], []
    at = working.Store.at
    monkeypatch.setattr(working.Store, "at", lambda *a: opened.append(1) or at(*a))
    store = creating.create(tmp_path / "a.zarr", plan)
    with Wire(port_of(cluster)) as wire, Line(partial(connected, wire.address)) as line:
        before = wire.up + wire.down
        for _, entry in sent(line, str(store.path), plan.key, todo_of(plan.grid)):
            sizes.append(len(pickle.dumps(entry)))
        passed = (wire.up + wire.down - before) / len(sizes)
    assert len(sizes) == len(plan) > 100
    assert opened == [1]
    assert max(sizes) < 1000
    assert passed < 4000 < heavy / 100  # 1.5 KB in large windows


def test_one_tile_at_a_time_in_the_threads_that_a_worker_was_given(
    tmp_path,
    cluster,
    third_party,  # noqa: F811
    monkeypatch,
):
    book = tmp_path / "book"
    plan = plan_of(on_disk(tmp_path, numbers((8, 30, 30))), method=third_party.Watched(str(book)))
    *_, last = run(plan, tmp_path / "a.zarr", scheduler=cluster.scheduler_address)
    assert last.phase == "complete"
    lines = sorted(json.loads(line) for line in book.read_text().splitlines())
    assert all(end <= begin for (_, end, *_), (begin, *_) in pairwise(lines))
    assert len({thread for *_, thread, _ in lines}) > 1
    assert {threads for *_, threads in lines} == {min(4, working.system.cores())}


@pytest.mark.parametrize(
    ("own", "here", "cores", "share"),
    [
        (4, [4], 16, 4),
        (16, [16], 8, 8),
        (4, [4, 4, 4, 4], 16, 4),
        (8, [8] * 8, 8, 1),
        (1, [1], 8, 1),
    ],
)
def test_workers_of_a_machine_share_its_cores(own, here, cores, share, monkeypatch):
    everybody = {f"tcp://10.0.0.1:{i}": n for i, n in enumerate(here)} | {"tcp://10.0.0.2:1": 64}
    monkeypatch.setattr(working, "sync", lambda *_, **__: everybody)
    monkeypatch.setattr(working.os, "cpu_count", lambda: cores)
    monkeypatch.setattr(working.system, "cores", lambda: cores)
    worker = SimpleNamespace(
        state=SimpleNamespace(nthreads=own), loop=None, address="tcp://10.0.0.1:0",
        scheduler=SimpleNamespace(ncores=None),
    )  # fmt: skip
    assert working._share.__wrapped__(worker, 0) == share
    assert share * len(here) <= cores


def test_processes_take_turns_on_a_gpu(tmp_path):
    """Without a GPU the file that stands for one is locked all the same."""
    code = (
        "import sys, time\n"
        "from napari_deblur import devices\n"
        "devices._name = lambda device: sys.argv[1]\n"
        "devices.give_back = devices._keep_few_plans = lambda device: None\n"
        "devices.among_processes()\n"
        "for _ in range(3):\n"
        "    with devices.alone_on('cuda'):\n"
        "        begun = time.monotonic(); time.sleep(0.1); print(begun, time.monotonic())\n"
    )
    name = f"test-{os.getpid()}"
    running = [
        subprocess.Popen([sys.executable, "-c", code, name], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=60)[0].splitlines() for process in running]
    spans = sorted(tuple(map(float, line.split())) for lines in said for line in lines)
    assert len(spans) == 6
    assert all(end <= begin for (_, end), (begin, _) in pairwise(spans))


def test_workers_say_what_gpus_they_have(cluster, monkeypatch):
    for free in (None, 5_000_000_000):
        monkeypatch.setattr(devices, "offered", lambda free=free: free)
        assert list(gpus(cluster.scheduler_address, wait=True).values()) == [free]


def test_a_worker_without_the_plans_gpu_stops_the_run(tmp_path, cluster, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    plan = plan_of(on_disk(tmp_path, numbers((10, 14, 25))), device="cuda")
    with pytest.raises(RunStopped, match=r'cannot begin \(there is no device "cuda" here'):
        list(run(plan, tmp_path / "a.zarr", scheduler=cluster.scheduler_address))


def test_numbered_workers_take_the_gpus_of_a_machine_in_turn(monkeypatch):
    taken = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    for number in range(4):
        devices.take_turn("cuda", number)
    for device, name in [("cpu", 1), ("cuda:1", 2), ("cuda", "tcp://10.0.0.1:0")]:
        devices.take_turn(device, name)
    assert taken == [0, 1, 2, 0]


def test_short_tiles_go_in_batches_and_a_batch_that_killed_is_taken_apart():
    flight = sending._Flight(SimpleNamespace(), Order("/x", "key"))
    todo = Todo(Task((0, 0, 0, 0, i)) for i in range(100))
    assert [len(b) for b in flight._batches(todo, 2)] == [1, 1]  # nothing is known of them yet
    flight._seconds = 0.1
    (batch,) = flight._batches(todo, 1)
    assert len(batch) == 10
    killed = KilledWorker("work", SimpleNamespace(address="tcp://10.0.0.1:1"), 4)
    assert flight._of_failed(batch, killed) == []
    again = list(flight._batches(todo, 10))
    assert again == [(task,) for task in batch]
    ((_, error),) = flight._of_failed(again[0], killed)
    assert "4 worker processes died over it" in str(error)


def test_a_worker_of_another_version_is_told_apart(tmp_path, cluster, monkeypatch):
    plan = plan_of(on_disk(tmp_path, numbers((10, 14, 25))))
    here = SimpleNamespace(__version__="0.0.1")
    monkeypatch.setattr(connecting, "napari_deblur", here)
    with pytest.raises(RunStopped, match=r"has napari-deblur .* and this is 0\.0\.1: install the"):
        list(run(plan, tmp_path / "a.zarr", scheduler=cluster.scheduler_address))


def test_a_worker_that_does_not_see_the_output_stops_the_run(tmp_path, cluster):
    with Line(partial(connected, cluster.scheduler_address)) as line:
        answers = sent(line, str(tmp_path / "not.zarr"), "key", Todo(iter([Task((0,) * 5)])))
        with pytest.raises(RunStopped, match="all machines must see the input"):
            next(answers)


@pytest.mark.parametrize("lacking", ["scheduler", "worker"])
def test_an_environment_without_this_package_is_one_sentence(tmp_path, lacking):
    """Workers come when the run has begun: until then nothing is sent."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "napari_deblur.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'napari_deblur'\", name='napari_deblur')\n"
    )
    ways = dict.fromkeys(("scheduler", "worker"), os.environ.get("PYTHONPATH", ""))
    ways[lacking] = str(hidden)
    file = tmp_path / "scheduler.json"

    def started(name, *options):
        words = [f"distributed.cli.dask_{name}", "--no-dashboard", *options]
        environment = {**os.environ, "PYTHONPATH": ways[name]}
        process = subprocess.Popen(
            [sys.executable, "-m", *words], env=environment, stderr=subprocess.DEVNULL
        )
        running.append(process)

    running = []
    try:
        started("scheduler", "--port", "0", "--host", "127.0.0.1", "--scheduler-file", str(file))
        for _ in range(300):
            with suppress(OSError, ValueError):  # not there yet, or half written
                address = json.loads(file.read_text())["address"]
                break
            time.sleep(0.1)
        started("worker", address, "--nthreads", "1", "--no-nanny",
                "--local-directory", str(tmp_path))  # fmt: skip
        plan = plan_of(on_disk(tmp_path, numbers((4, 8, 8))))
        with pytest.raises(RunStopped, match=f"the {lacking} .*has no napari-deblur"):
            list(run(plan, tmp_path / "a.zarr", scheduler=address))
    finally:
        for process in running:
            process.kill()
            process.wait()


def test_what_could_not_be_sent_is_sent_again():
    calls = []

    def map_(do, batches, **options):
        calls.append(batches)
        if len(calls) == 1:
            raise OSError("the connection is closed")
        return [SimpleNamespace(key=str(n), add_done_callback=id) for n in range(len(batches))]

    line = SimpleNamespace(client=SimpleNamespace(map=map_), workers=lambda: {"tcp://10.0.0.1:1"})
    flight, todo = sending._Flight(line, Order("/x", "key")), Todo(Task((0,) * 5) for _ in range(3))
    with pytest.raises(OSError, match="closed"):
        flight.fill(todo)
    flight.fill(todo)
    assert calls[0] == calls[1] == [(Task((0,) * 5),)] * 3


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """Make this process a worker; give the tasks of a store, and the order for them."""
    here = SimpleNamespace(address="tcp://10.0.0.1:1", name=3)
    monkeypatch.setattr(working, "get_worker", lambda: here)
    monkeypatch.setattr(working, "_take_share", lambda: None)
    plan = plan_of(on_disk(tmp_path, numbers((4, 8, 40))))
    creating.create(tmp_path / "a.zarr", plan)
    return tuple(map(Task, plan.grid)), Order(str(tmp_path / "a.zarr"), plan.key)


def test_a_batch_that_takes_long_is_answered_before_its_end(alone, monkeypatch):
    tasks, order = alone
    assert len(working.work(tasks, order).outcomes) == len(tasks) == 5
    monkeypatch.setattr(working, "LONG", 0.0)
    assert len(working.work(tasks, order).outcomes) == 1


def test_a_worker_whose_gpu_has_failed_says_who_it_is(alone, monkeypatch):
    """So the run knows it, and lets others do its tiles."""

    def failed(device, number):
        raise RuntimeError("CUDA error: unspecified launch failure")

    tasks, order = alone
    monkeypatch.setattr(devices, "take_turn", failed)
    answer = working.work(tasks, order)
    assert [str(one) for one in answer.outcomes] == ["CUDA error: unspecified launch failure"] * 5
    assert answer.worker == "tcp://10.0.0.1:1"


def test_a_disk_that_is_away_when_a_worker_begins_is_waited_for(alone, monkeypatch):
    def away(*_):
        raise OSError(errno.ESTALE, "Stale file handle", "/out")

    tasks, order = alone
    with monkeypatch.context() as patch:
        patch.setattr(working.Store, "at", away)
        answer = working.work(tasks, replace(order, claim="another"))
    assert all(may_pass(one) for one in answer.outcomes)
    assert len(answer.outcomes) == len(tasks)


def test_a_worker_of_another_version_that_nobody_asked_does_nothing(alone):
    tasks, order = alone
    with pytest.raises(RunStopped, match=r"and this run is of 0\.0\.1: install the same version"):
        working.work(tasks, replace(order, version="0.0.1"))


def test_a_connection_that_breaks_is_made_again(tmp_path, cluster, third_party, caplog):  # noqa: F811
    plan = plan_of(on_disk(tmp_path, numbers((12, 20, 40))), method=third_party.Slow(0.02))
    with Wire(port_of(cluster)) as wire:
        broken = False
        for step in run(plan, tmp_path / "a.zarr", scheduler=wire.address):
            if step.phase == "tiles" and step.done >= 5 and not broken:
                wire.reset()
                broken = True
    assert broken
    assert step.phase == "complete"
    assert "trying again" in caplog.text
    list(run(plan, tmp_path / "one.zarr"))
    assert tree_hash(tmp_path / "a.zarr") == tree_hash(tmp_path / "one.zarr")


def test_a_way_that_is_cut_without_a_word_ends_in_one_and_the_run_goes_on(
    tmp_path,
    cluster,
    third_party,  # noqa: F811
    monkeypatch,
):
    monkeypatch.setattr(sending, "RECOUNT", 0.3)
    monkeypatch.setattr(connecting, "SILENCE", 1.0)
    monkeypatch.setattr(connecting, "RETURN", 1.0)
    plan = plan_of(on_disk(tmp_path, numbers((12, 20, 40))), method=third_party.Slow(0.02))
    with Wire(port_of(cluster)) as wire:

        def cut_in_the_middle():
            for step in run(plan, tmp_path / "a.zarr", scheduler=wire.address):
                wire.held = step.phase == "tiles" and step.done >= 5

        with pytest.raises(ConnectionError, match="was lost: run the same again"):
            cut_in_the_middle()
    first, *_, last = run(plan, tmp_path / "a.zarr")
    assert first.done >= 5
    assert last.phase == "complete"
