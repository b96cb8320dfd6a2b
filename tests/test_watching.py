"""Workers on which all fails, or that hang: the others do what they were to do."""

import gc
import logging
import time
import warnings
from concurrent.futures import Future as Slot
from functools import partial
from threading import Event
from types import SimpleNamespace

import pytest
from distributed import LocalCluster, get_worker

from napari_deblur import sending, watching
from napari_deblur.connecting import Line, connected
from napari_deblur.ledger import Entry
from napari_deblur.sending import sent
from napari_deblur.tasks import Task, Todo
from napari_deblur.watching import Watch
from napari_deblur.working import Answer

A, B, C = (f"tcp://10.0.0.{i}:1" for i in (1, 2, 3))
ALL = {A, B, C}
BAD = RuntimeError("CUDA error: unspecified launch failure")


def tasks(count, first=0):
    return [Task((0, 0, 0, 0, i)) for i in range(first, first + count)]


def fine(task):
    return Entry("tile", "key", task.index)


def failed(some):
    return [(task, BAD) for task in some]


def test_what_fails_on_one_worker_alone_is_done_by_others_and_no_try(caplog):
    watch, some = Watch(), tasks(watching.ROW + 2)
    assert watch.judged(A, failed(some[:2]), ALL) == (failed(some[:2]), [])
    assert watch.trusted(ALL) is None
    assert watch.judged(A, failed(some[2:]), ALL) == ([], some[2:])
    assert watch.trusted(ALL) == [B, C]
    assert caplog.text == ""  # it may be the tiles
    pairs = [(task, fine(task)) for task in some[2:]]
    assert watch.judged(B, pairs, ALL) == (pairs, [])
    assert watch.trusted(ALL) == [B, C]
    assert caplog.text.count(f"all fails on the worker at {A} (RuntimeError: CUDA error") == 1
    last = tasks(1, 100)
    assert watch.judged(A, failed(last), ALL) == ([], last)  # that was there still


def test_tiles_that_fail_elsewhere_too_are_told_and_their_worker_is_trusted_again(caplog):
    watch, some = Watch(), tasks(watching.ROW)
    assert watch.judged(A, failed(some), ALL) == ([], some)
    assert watch.judged(B, failed(some), ALL) == (failed(some), [])
    assert watch.trusted(ALL) is None
    assert caplog.text == ""


def test_a_worker_gets_its_share_again_after_a_while(monkeypatch):
    watch = Watch()
    watch.judged(A, failed(tasks(watching.ROW)), ALL)
    later = time.monotonic() + watching.REST + 1
    monkeypatch.setattr(watching, "monotonic", lambda: later)
    assert watch.trusted(ALL) is None


def test_where_there_is_no_other_worker_all_is_told():
    watch, some = Watch(), tasks(50)
    assert watch.judged(A, failed(some), {A}) == (failed(some), [])
    assert watch.trusted({A}) is None
    watch = Watch()
    for worker in (A, B, C):
        watch.doubt(worker, 100)
    assert watch.trusted(ALL) is None


def test_what_stops_the_run_is_told_at_once():
    full = OSError(28, "No space left on device")
    watch, pairs = Watch(), [(task, full) for task in tasks(50)]
    assert watch.judged(A, pairs, ALL) == (pairs, [])


def test_a_batch_hangs_when_it_takes_far_longer_than_usual():
    watch, batches = Watch(), {name: (task,) for name, task in zip("xyz", tasks(3), strict=True)}

    def hung(at_work):
        return watch.hung(at_work, batches, ALL)

    assert hung({A: {"x": 3000.0, "y": 3000.0}}) == []  # it may be the tiles: none is done yet
    watch.lasted(5.0)
    assert hung({A: {"x": 700.0, "y": 3.0}, B: {"z": 500.0}}) == ["x"]
    for _ in range(9):
        watch.lasted(60.0)
    assert hung({A: {"y": 700.0}}) == []  # 20 minutes are no rarity then
    assert hung({B: {"z": 1300.0}}) == ["z"]


def test_what_hangs_is_done_by_another_worker_that_comes_later(caplog):
    watch, at_work = Watch(), {A: {"x": 3700.0, "y": 0.0, "theirs": 9000.0}}
    batches = {name: (task,) for name, task in zip("xy", tasks(2), strict=True)}
    assert watch.hung(at_work, batches, {A}) == []
    assert watch.hung(at_work, batches, {A, B}) == ["x", "y"]  # and what waits behind it
    assert watch.hung(at_work, batches, {A, B}) == []
    assert caplog.text.count("has been 3700 s on the worker at") == 1


class Cluster:
    """Workers that answer at once, by the rule of who gets a batch; a line to them."""

    def __init__(self, workers, answer):
        self.there, self.answer = set(workers), answer
        self.client, self.working, self.count = self, {}, 0
        self.took = []

    def workers(self):
        return set(self.there)

    def asked(self, question):
        return question()

    def worked(self):
        pass

    def at_work(self):
        found = {}
        for key, worker in self.working.items():
            found.setdefault(worker, {})[key] = 1000.0
        return found

    def map(self, do, batches, *, order, pure, workers=None):
        futures = []
        for batch in batches:
            self.count += 1
            # The worst case: one worker, whose tasks fail in no time, gets all it may get.
            worker = A if A in (workers or self.there) else sorted(workers or self.there)[-1]
            self.took.append(worker)
            futures.append(SimpleNamespace(key=str(self.count), status="finished", batch=batch))
            outcomes = self.answer(worker, batch)
            futures[-1].result = outcomes and Answer(tuple(outcomes), 2.0, worker)
            if outcomes is None:
                self.working[futures[-1].key] = worker
            called = Slot()
            futures[-1].add_done_callback = (
                (lambda tell, one=futures[-1]: tell(one)) if outcomes else called.add_done_callback
            )
        return futures

    def gather(self, good, *, errors, asynchronous):
        return {key: future.result for key, future in good.items()}

    def cancel(self, futures, *, asynchronous):
        for future in futures:
            self.working.pop(future.key, None)


def test_one_broken_worker_among_others_spoils_nothing(caplog):
    def answer(worker, batch):
        return [BAD if worker == A else fine(task) for task in batch]

    line, todo = Cluster(ALL, answer), Todo(iter(tasks(300)))
    told = list(sent(line, "/x", "key", todo))
    wrong = [task for task, outcome in told if outcome is BAD]
    assert len(wrong) < watching.ROW  # told before it was known; they are tried again
    assert {task for task, _ in told} == set(tasks(300))
    assert line.took.count(A) <= 3 * sending.AHEAD
    assert f"all fails on the worker at {A}" in caplog.text


def test_a_run_in_which_all_fails_tells_all_of_it():
    line, todo = Cluster(ALL, lambda worker, batch: [BAD] * len(batch)), Todo(iter(tasks(200)))
    told = list(sent(line, "/x", "key", todo))
    assert sorted(task.index[4] for task, outcome in told if outcome is BAD) == [*range(200)]


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(sending, "LOOK", 0.0)
    monkeypatch.setattr(sending, "RECOUNT", 0.05)
    monkeypatch.setattr(watching, "HUNG", 0.01)
    monkeypatch.setattr(watching, "FIRST", 0.01)
    monkeypatch.setattr(watching, "TIMES", 0)


def test_what_hangs_is_said_and_done_by_others(caplog, impatient):
    def answer(worker, batch):
        return None if worker == A else [fine(task) for task in batch]

    line = Cluster(ALL, answer)
    with caplog.at_level(logging.WARNING):
        told = list(sent(line, "/x", "key", Todo(iter(tasks(40)))))
    assert {task for task, _ in told} == set(tasks(40))
    assert f"has been 1000 s on the worker at {A}" in caplog.text
    assert line.working == {}


def test_what_is_meant_for_workers_that_have_left_is_sent_to_those_that_came(impatient):
    def answer(worker, batch):
        if worker == A:
            return [BAD] * len(batch)
        if worker in (B, C):
            line.there = {A, "tcp://10.0.0.4:1"}
            return None
        return [fine(task) for task in batch]

    line = Cluster(ALL, answer)
    line.at_work = dict
    told = list(sent(line, "/x", "key", Todo(iter(tasks(60)))))
    assert {task for task, _ in told} == set(tasks(60))


# On a real scheduler ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, protocol="tcp://",
        dashboard_address="127.0.0.1:0", memory_limit=0,
    ) as started:  # fmt: skip
        yield started
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of connections that were torn dask closes not all
        gc.collect()


HELD = Event()


def ill(batch, order):
    """Answer as a worker does; the first one fails, or hangs."""
    worker = get_worker()
    if worker.name == 0 and order.path == "hangs":
        HELD.wait(60)
    time.sleep(0.01)
    wrong = worker.name == 0 and order.path == "fails"
    outcomes = tuple(BAD if wrong else fine(task) for task in batch)
    return Answer(outcomes, 0.5 * len(batch), worker.address)


def test_dask_sends_nothing_more_to_a_worker_on_which_all_fails(cluster):
    with Line(partial(connected, cluster.scheduler_address)) as line:
        told = list(sent(line, "fails", "key", Todo(iter(tasks(100))), ill))
    assert {task for task, _ in told} == set(tasks(100))
    assert len(told) == 100
    assert sum(isinstance(outcome, RuntimeError) for _, outcome in told) < watching.ROW


def test_dask_says_what_hangs_and_another_worker_does_it(cluster, caplog, monkeypatch):
    monkeypatch.setattr(sending, "LOOK", 0.2)
    monkeypatch.setattr(sending, "RECOUNT", 0.2)
    monkeypatch.setattr(watching, "HUNG", 0.5)
    monkeypatch.setattr(watching, "TIMES", 0)
    HELD.clear()
    try:
        with Line(partial(connected, cluster.scheduler_address)) as line:
            told = list(sent(line, "hangs", "key", Todo(iter(tasks(30))), ill))
    finally:
        HELD.set()
    assert {task for task, _ in told} == set(tasks(30))
    address = cluster.workers[0].address
    assert f"s on the worker at {address}" in caplog.text
