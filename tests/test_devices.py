"""GPUs that are not here: what would be asked of them."""

import weakref
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from by_hand import plan_of, small, stack_of, third_party  # noqa: F401
from napari_deblur import devices, restoring, system, tasks
from napari_deblur.batch import run
from napari_deblur.gridding import allowed_memory, chosen_device
from napari_deblur.restoring import restore_tile

FREE = {0: 4_000_000_000, 1: 60_000_000_000}


@pytest.fixture
def gpus(monkeypatch):
    """Two of them; gives a list of what is done to them."""
    done = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: done.append("given back"))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda d=None: (FREE[d.index or 0], 80 * 10**9))
    caches = [SimpleNamespace(max_size=4096), SimpleNamespace(max_size=4096)]
    monkeypatch.setattr(torch.backends.cuda, "cufft_plan_cache", caches)
    monkeypatch.setattr(devices._among, "is_set", lambda: False)
    devices._keep_few_plans.cache_clear()
    yield done
    devices._keep_few_plans.cache_clear()


def test_the_memory_of_the_gpu_that_is_asked_for_counts(gpus):
    assert allowed_memory(None, "cuda:1") == FREE[1] // 2
    assert allowed_memory(None, "cuda") == allowed_memory(None, "cuda:0") == FREE[0] // 2
    assert gpus == ["given back"] * 3  # what planning before has left does not count as taken
    assert allowed_memory(None, "cuda", free=10**9) == 5 * 10**8


@pytest.mark.parametrize("name", ["cuda:2", "cuda:9", "cuda:x", "cuda:", "cuda:-1"])
def test_a_gpu_that_is_not_there_is_refused(gpus, name):
    with pytest.raises(ValueError, match=f'no device "{name}" here: take cuda or cuda:0 to cuda:1'):
        chosen_device(name)
    assert chosen_device("cuda:1") == "cuda:1"
    assert chosen_device("auto") == "cuda"


def test_a_second_cpu_is_refused():
    with pytest.raises(ValueError, match='no device "cpu:1" here: take cpu or cpu:0'):
        chosen_device("cpu:1")


def test_a_gpu_is_given_back_before_the_next_process_has_its_turn(gpus, monkeypatch):
    @contextmanager
    def locked(name):
        gpus.append(f"{name} locked")
        try:
            yield
        finally:
            gpus.append("unlocked")

    monkeypatch.setattr(devices, "_file_of", locked)
    monkeypatch.setattr(devices, "_name", lambda device: device)
    with devices.alone_on("cuda:1"):
        gpus.append("restored")
    assert gpus == ["restored"]  # nobody else is there: nothing is lost
    monkeypatch.setattr(devices._among, "is_set", lambda: True)
    del gpus[:]
    with pytest.raises(MemoryError), devices.alone_on("cuda:1"):
        raise MemoryError
    assert gpus == ["cuda:1 locked", "given back", "unlocked"]
    del gpus[:]
    with devices.alone_on("cpu"):
        pass
    assert gpus == []


def test_few_plans_of_transforms_are_kept_on_a_gpu(gpus):
    with devices.alone_on("cuda:1"):
        pass
    assert [one.max_size for one in torch.backends.cuda.cufft_plan_cache] == [4096, devices.KEPT]


def test_nothing_of_a_tile_is_left_on_the_device_after_its_turn(monkeypatch):
    alive, seen = [], []

    class Watching:
        arrays, multiple_of = 2, 1

        def __call__(self, tile, blur):
            made = restoring.Identity()(tile, blur)
            alive.append(weakref.ref(made))
            return made

    @contextmanager
    def turn(device):
        yield
        seen.append(alive[-1]())

    monkeypatch.setattr(restoring, "alone_on", turn)
    stack = small()[1]
    plan = plan_of(stack, method=Watching())
    restore_tile(plan, stack, (0, 0, 0, 0, 0))
    assert seen == [None]


def test_every_engine_takes_turns_with_other_processes(monkeypatch):
    asked = []
    monkeypatch.setattr(devices, "among_processes", lambda: asked.append(True))
    tasks.in_this_process(SimpleNamespace(), None)
    assert asked == [True]


@pytest.mark.parametrize(
    "words",
    [
        "cuFFT error: CUFFT_ALLOC_FAILED",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "MPS backend out of memory (MPS allocated: 1 GB)",
    ],
)
def test_a_tile_is_split_whoever_says_that_memory_ran_out(words):
    assert restoring._out_of_memory(RuntimeError(words))
    assert not restoring._out_of_memory(RuntimeError("cuFFT error: CUFFT_INVALID_SIZE"))


def test_a_plan_for_a_gpu_is_not_begun_where_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    stack = small()[1]
    plan = plan_of(stack, device="cuda")
    for how in ({}, {"workers": 2}, {"part": (1, 2)}):
        with pytest.raises(ValueError, match='there is no device "cuda" here: take auto or'):
            run(plan, tmp_path / "a.zarr", stack, **how)
    assert list(tmp_path.iterdir()) == []


def test_torch_takes_no_more_threads_than_a_quota_gives(tmp_path, monkeypatch, third_party):  # noqa: F811
    """With 64 threads on 2 cores' worth of time each waits for all others."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        monkeypatch.setattr(system, "cores", lambda: 2)
        stack, book = stack_of(small()[1].read(0, 0)), tmp_path / "book"
        plan = plan_of(stack, core=(10, 14, 25), method=third_party.Watched(str(book)))
        *_, last = run(plan, tmp_path / "a.zarr", stack)
        assert last.phase == "complete"
        assert book.read_text().rstrip().endswith(", 2]")
    finally:
        torch.set_num_threads(before)
