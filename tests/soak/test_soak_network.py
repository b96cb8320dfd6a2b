"""A scheduler that is started again, and ways that are silent for a while: the same bytes."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from threading import Timer

import psutil
import pytest
import zarr

from by_hand import numbers, plan_of, third_party, tree_hash  # noqa: F401
from napari_deblur.batch import run
from napari_deblur.bench.wire import Wire
from napari_deblur.opening import open_stack
from napari_deblur.verifying import verify

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are ended by groups"),
]
PORT = 18786


@pytest.fixture
def plan(tmp_path, third_party):  # noqa: F811
    zarr.save_array(tmp_path / "raw.zarr", numbers((16, 40, 48)))
    stack = open_stack(tmp_path / "raw.zarr", "zyx", (0.3, 0.1, 0.1))
    return plan_of(stack, core=(2, 8, 8), method=third_party.Slow(seconds=0.25))


def sound(path, plan, whole):
    list(run(plan, whole))
    assert list(verify(path)) == []
    assert tree_hash(path) == tree_hash(whole)


def program(*words):
    quiet = subprocess.DEVNULL
    command = [sys.executable, "-m", *words]
    return subprocess.Popen(command, stdout=quiet, stderr=quiet, start_new_session=True)


def scheduler(host):
    options = ["--no-dashboard", "--host", host, "--port", str(PORT)]
    return program("distributed.cli.dask_scheduler", *options)


def answering(host):
    """Wait until a scheduler listens."""
    for _ in range(300):
        with suppress(OSError), socket.create_connection((host, PORT), timeout=1):
            return
        time.sleep(0.2)
    raise AssertionError(f"no scheduler listens at {host}")


def workers(host, folder, count=2, port=PORT):
    """Workers in a loop, as a job file starts them."""
    command = (
        f"while true; do {sys.executable} -m distributed.cli.dask_worker tcp://{host}:{port} "
        f"--nthreads 1 --no-dashboard --death-timeout 60 --local-directory {folder}; sleep 1; done"
    )
    quiet = subprocess.DEVNULL
    return [
        subprocess.Popen(
            ["bash", "-c", command], stdout=quiet, stderr=quiet, start_new_session=True
        )
        for _ in range(count)
    ]


@contextmanager
def ended(*processes):
    """End programs and all that they started, when the block is left."""
    processes = list(processes)
    try:
        yield processes
    finally:
        for process in processes:
            with_children = psutil.Process(process.pid).children(recursive=True)
            os.killpg(process.pid, signal.SIGKILL)
            for child in with_children:
                if child.is_running():
                    child.kill()
            process.wait()


def test_a_scheduler_that_is_started_again_gets_the_rest(tmp_path, plan):
    host = "127.0.0.1"
    first, died = scheduler(host), None
    with ended(first, *workers(host, tmp_path)) as running:
        answering(host)
        for step in run(plan, tmp_path / "a.zarr", scheduler=f"tcp://{host}:{PORT}"):
            if step.phase == "tiles" and step.done >= 20 and died is None:
                first.kill()
                first.wait()
                running[0] = scheduler(host)
                died = time.monotonic()
            if died and step.phase == "tiles" and step.done == 60:
                print(f"60 tiles {time.monotonic() - died:.0f} s after the scheduler was killed")
    assert step.phase == "complete"
    sound(tmp_path / "a.zarr", plan, tmp_path / "one.zarr")


@pytest.mark.parametrize("seconds", [8, 40])
@pytest.mark.parametrize("who", ["worker", "run"])
def test_a_way_that_is_silent_for_a_while(tmp_path, plan, who, seconds, monkeypatch):
    """Shorter and longer than a scheduler waits for a worker, and a run for a scheduler."""
    host = "127.0.0.1"
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL", "15s")
    with ended(scheduler(host), *workers(host, tmp_path, 1)) as running, Wire(PORT) as wire:
        answering(host)
        port = wire.address.rpartition(":")[2]
        running += workers(host, tmp_path, 1, port if who == "worker" else PORT)
        address = wire.address if who == "run" else f"tcp://{host}:{PORT}"
        cut = back = None
        for step in run(plan, tmp_path / "a.zarr", scheduler=address):
            if step.phase == "tiles" and step.done >= 20 and cut is None:
                wire.held, cut = True, time.monotonic()
                back = Timer(seconds, setattr, (wire, "held", False))
                back.start()
        print(f"{who}: silent for {seconds} s; done {time.monotonic() - cut:.0f} s after the cut")
        back.join()
    assert step.phase == "complete"
    sound(tmp_path / "a.zarr", plan, tmp_path / "one.zarr")
