"""What comes back from workers, or does not: each task is told of once, whatever happens."""

from random import Random
from types import SimpleNamespace

import pytest
from distributed import KilledWorker

from napari_deblur import sending
from napari_deblur.ledger import Entry
from napari_deblur.sending import sent
from napari_deblur.tasks import Task, Todo
from napari_deblur.working import Answer, Order


class Answering:
    """A line to workers that do all at once; `then` is done to the first futures."""

    def __init__(self, *then):
        self.client, self.then, self.sent, self.renewed = self, list(then), [], 0

    def workers(self):
        return {"tcp://10.0.0.1:1"}

    def asked(self, question):
        return question()

    def worked(self):
        pass

    def renew(self):
        self.renewed += 1

    def map(self, do, batches, **options):
        return [self._future(batch) for batch in batches]

    def _future(self, batch):
        self.sent.append(batch)
        entries = tuple(Entry("tile", "key", task.index) for task in batch)
        answer = Answer(entries, 1.0, "tcp://10.0.0.1:1")
        future = SimpleNamespace(key=str(len(self.sent)), status="finished", answer=answer)
        future.add_done_callback = lambda tell: tell(future)
        if self.then:
            self.then.pop(0)(future)
        return future

    def gather(self, good, **options):
        """Give None for what failed meanwhile, as dask does."""
        for one in good.values():
            one.status = "finished" if one.answer else "error"
        return {key: one.answer for key, one in good.items()}

    def cancel(self, futures, **options):
        pass


def of_line(line, count):
    return list(sent(line, "/x", "key", Todo(Task((0, 0, 0, 0, i)) for i in range(count))))


@pytest.mark.parametrize("status", ["lost", "pending"])
def test_an_answer_that_died_with_its_worker_is_asked_for_again_and_no_other(status):
    line = Answering(lambda future: setattr(future, "status", status))
    told = of_line(line, 5)
    assert sorted(task.index[4] for task, _ in told) == [*range(5)]
    assert (len(line.sent), line.renewed) == (6, 0)
    assert line.sent.count(line.sent[0]) == 2


def test_an_answer_that_is_lost_while_it_is_fetched_is_told_as_what_became_of_it():
    def lost(future):
        future.answer, future.exception = None, lambda: RuntimeError("4 workers died")

    told = dict(of_line(Answering(lost), 5))
    assert len(told) == 5
    assert str(told.pop(Task((0, 0, 0, 0, 0)))) == "4 workers died"
    assert all(isinstance(outcome, Entry) for outcome in told.values())


def test_what_is_left_over_of_a_batch_goes_to_whoever_is_free(monkeypatch):
    def left(future):
        future.answer = Answer(future.answer.outcomes[:3], 40.0, "tcp://10.0.0.1:1")

    line = Answering(left)
    flight = sending._Flight(line, Order("/x", "key"))
    monkeypatch.setattr(sending, "_Flight", lambda *_: flight)
    flight._seconds = 0.1
    told = of_line(line, 10)
    assert sorted(task.index[4] for task, _ in told) == [*range(10)]
    assert [len(batch) for batch in line.sent] == [10, *[1] * 7]


class Chaotic(Answering):
    """Workers that come and go, by a scheduler that forgets, behind a line that breaks."""

    def __init__(self, seed):
        super().__init__()
        self.chance = Random(seed)
        self.there = {f"tcp://10.0.0.{i}:1" for i in range(3)}

    def breaks(self):
        if self.chance.random() < 0.03:
            raise ConnectionError("the scheduler says nothing")

    def workers(self):
        self.breaks()
        self.there = {f"tcp://10.0.0.{self.chance.randrange(9)}:1" for _ in range(3)}
        return set(self.there)

    def map(self, do, batches, **options):
        self.breaks()
        return super().map(do, batches, **options)

    def gather(self, good, **options):
        self.breaks()
        return super().gather(good, **options)

    def cancel(self, futures, **options):
        self.breaks()

    def _future(self, batch):
        future, who = super()._future(batch), self.chance.choice(sorted(self.there))
        outcomes = list(future.answer.outcomes[: self.chance.choice([1, 100, 100])])
        if who.endswith(".1:1"):  # all fails there
            outcomes = [RuntimeError("CUDA error")] * len(outcomes)
        future.answer = Answer(tuple(outcomes), self.chance.random(), who)
        future.exception = lambda: KilledWorker("work", SimpleNamespace(address=who), 4)
        what = self.chance.random()
        if what < 0.3:
            future.status = self.chance.choice(["lost", "pending", "cancelled", "error", "error"])
        elif what < 0.35:
            future.answer = None
        return future


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_on_the_way_each_task_is_told_of_once(seed, monkeypatch):
    monkeypatch.setattr(sending, "LINGER", 0.0)
    monkeypatch.setattr(sending, "RECOUNT", 0.001)
    monkeypatch.setattr(sending, "SPAN", 5.0)
    told = of_line(Chaotic(seed), 150)
    assert sorted(task.index[4] for task, _ in told) == [*range(150)]
    assert sum(isinstance(outcome, Entry) for _, outcome in told) > 75
