"""The queue alone, and with its worker: fair, bounded, merged, everything answered once."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
import torch

from underdraw.apps.server.jobs import Ended, Event, Finished, Full, Job, Moved, Stepped
from underdraw.apps.server.limits import Limits
from underdraw.apps.server.metrics import Metrics
from underdraw.apps.server.queue import Queue
from underdraw.apps.server.worker import Worker
from underdraw.generation import ControlRequest, Drawing, Studio, Wish, plan_each

from .conftest import wait_for

Order = Callable[..., tuple[Job, list[Event]]]


@pytest.fixture
def queue() -> Queue:
    return Queue(Limits(queue=20, seconds=60), Metrics())


@pytest.fixture
def working(studio: Studio, queue: Queue) -> Iterator[Queue]:
    worker = Worker(studio, queue)
    worker.start()
    yield queue
    worker.stop()


def recipes(studio: Studio, seeds: Any = (0,), prompt: str = "x", **settings: Any) -> list[Drawing]:
    return plan_each(studio, Wish((prompt,), settings={"steps": 2} | settings), list(seeds))


@pytest.fixture
def order(studio: Studio, queue: Queue) -> Order:
    """Puts a job into the queue; gives it and the list that its events come into."""

    def enter(client: str, seeds: Any = (0,), previews: int = 0, **settings: Any) -> tuple[Job, list[Event]]:
        events: list[Event] = []
        job = Job(client, recipes(studio, seeds, **settings), events.append, previews)
        with queue.reserve(client, len(job.drawings)):
            queue.enter(job)
        return job, events

    return enter


def ended(events: list[Event]) -> bool:
    return any(isinstance(event, Ended) for event in events)


def test_clients_take_turns(queue: Queue, order: Order) -> None:
    """One who asks for much does not keep the others from their first picture."""
    order("greedy", range(8), steps=3)
    order("one", steps=4)
    order("two", steps=5)
    turns = [queue.take()[0].job.client for _ in range(3)]
    assert turns == ["greedy", "one", "two"]


def test_a_batch_is_shared_evenly(queue: Queue, order: Order) -> None:
    """16 places: 10 of one client, and all that others want."""
    order("greedy", range(10))
    order("one", range(3))
    order("two", range(3))
    taken = [ticket.job.client for ticket in queue.take()]
    assert len(taken) == 16
    order("greedy", range(10))
    order("one", range(10))
    taken = [ticket.job.client for ticket in queue.take()]
    assert taken.count("greedy") == taken.count("one") == 8


def test_only_what_is_drawn_in_one_way_is_merged(queue: Queue, order: Order) -> None:
    order("a", steps=3)
    order("b", steps=4)
    order("c", steps=3)
    assert [ticket.job.client for ticket in queue.take()] == ["a", "c"]
    assert [ticket.job.client for ticket in queue.take()] == ["b"]


def test_positions_are_told_and_move(queue: Queue, order: Order) -> None:
    order("a", steps=3)
    _, events = order("b", steps=4)
    assert [event.position for event in events if isinstance(event, Moved)] == [1]
    queue.take()
    assert [event.position for event in events if isinstance(event, Moved)] == [1, 0]


def test_it_is_bounded(queue: Queue, order: Order) -> None:
    """20 pictures, half of them one client's; who is refused hears when to come again."""
    order("a", range(10))
    with pytest.raises(Full) as refused:
        order("a")
    assert refused.value.seconds >= 1
    order("b", range(10))
    with pytest.raises(Full):
        order("c")


def test_what_waits_too_long_is_told_so(queue: Queue, order: Order) -> None:
    late, events = order("a")
    late.deadline = time.monotonic() - 1
    order("b", steps=3)
    assert [ticket.job.client for ticket in queue.take()] == ["b"]
    (told,) = [event for event in events if isinstance(event, Ended)]
    assert "waited longer" in told.detail


def test_cancelled_ones_are_not_drawn(queue: Queue, order: Order) -> None:
    job, events = order("a")
    order("b", steps=3)
    assert queue.cancel(job) and not queue.cancel(job)
    assert events[-1] == Ended(cancelled=True) and len([event for event in events if isinstance(event, Ended)]) == 1
    assert [ticket.job.client for ticket in queue.take()] == ["b"]
    assert queue.waiting == 0


def test_company_changes_no_picture(studio: Studio, working: Queue, order: Order) -> None:
    """What is merged is what each would have got alone, and the recipe says how to draw it again."""
    asked = [order(f"client {place}", (seed,), prompt=f"prompt {place}") for place, seed in enumerate((5, 9, 2))]
    wait_for(lambda: all(ended(events) for _, events in asked))
    for place, seed in enumerate((5, 9, 2)):
        (found,) = [event.drawn for event in asked[place][1] if isinstance(event, Finished)]
        (alone,) = studio.draw(f"prompt {place}", seeds=[seed], steps=2)
        torch.testing.assert_close(found.picture, alone.picture, rtol=1e-4, atol=1e-4)
        assert found.drawing.batch == 1 and found.drawing.seed == seed


def test_seeds_of_one_request_are_one_batch(working: Queue, order: Order) -> None:
    _, events = order("a", range(3, 7))
    wait_for(lambda: ended(events))
    found = [event.drawn.drawing for event in events if isinstance(event, Finished)]
    assert [(each.seed, each.index, each.batch) for each in found] == [(3, 0, 4), (4, 1, 4), (5, 2, 4), (6, 3, 4)]


def test_steps_and_previews_are_seen(working: Queue, order: Order) -> None:
    _, events = order("a", steps=6, previews=3)
    wait_for(lambda: ended(events))
    steps = [event for event in events if isinstance(event, Stepped)]
    assert [event.step for event in steps] == [1, 2, 3, 4, 5, 6]
    assert [event.step for event in steps if event.preview is not None] == [2, 4]
    assert all(event.preview.shape == (3, 32, 32) for event in steps if event.preview is not None)


def test_one_who_goes_does_not_stop_the_others(working: Queue, order: Order) -> None:
    gone, heard = order("a", (1,), steps=30)
    _, events = order("b", (7,), steps=30)
    wait_for(lambda: gone.step or ended(heard))
    working.cancel(gone)
    wait_for(lambda: ended(events))
    assert [type(event) for event in events[-2:]] == [Finished, Ended] and not events[-1].detail  # type: ignore[union-attr]
    assert not any(isinstance(event, Finished) for event in heard)


def test_broken_off_gives_what_there_is(working: Queue, order: Order) -> None:
    job, events = order("a", steps=39)
    wait_for(lambda: job.step >= 2)
    working.cancel(job, keep=True)
    wait_for(lambda: ended(events))
    (found,) = [event.drawn for event in events if isinstance(event, Finished)]
    assert found.interrupted and 2 <= found.drawing.stopped < 39


def test_one_that_fails_fails_alone(studio: Studio, queue: Queue) -> None:
    """A recipe whose map is damaged, merged with good ones: they are drawn, it is told why not."""
    heard: list[list[Event]] = [[], [], []]
    good = recipes(studio, (1,))[0]
    bad = good.model_copy(update={"controls": (_damaged(studio),)})
    assert bad.way == good.way
    for events, recipe in zip(heard, (good, bad, good), strict=True):
        queue.enter(Job(str(id(events)), [recipe], events.append))
    worker = Worker(studio, queue)
    worker.start()
    wait_for(lambda: all(map(ended, heard)))
    worker.stop()
    ends = [events[-1] for events in heard]
    assert [end.detail for end in ends if isinstance(end, Ended)][::2] == ["", ""]
    assert isinstance(ends[1], Ended) and "the canny map" in ends[1].detail


def _damaged(studio: Studio) -> Any:
    return studio.guide(ControlRequest("canny", torch.rand(3, 32, 32)), (32, 32)).model_copy(update={"map": "AAAA"})


def test_nothing_is_lost_and_nothing_answered_twice(studio: Studio, queue: Queue) -> None:
    """Eight clients in threads, some of whom go away: every job has one end, every picture comes at most once."""
    queue.limits = replace(queue.limits, queue=1000)
    ready = [recipes(studio, range(n), steps=s) for n, s in ((1, 1), (2, 1), (3, 2))]
    heard: dict[str, list[Event]] = {}
    numbers = count()

    def ask(name: str) -> None:
        dice = random.Random(name)
        for _ in range(6):
            events = heard.setdefault(f"{name} {next(numbers)}", [])
            job = Job(name, dice.choice(ready), events.append)
            with queue.reserve(name, len(job.drawings)):
                queue.enter(job)
            if dice.random() < 0.3:
                time.sleep(0.01 * dice.random())
                queue.cancel(job, keep=dice.random() < 0.5)
            wait_for(lambda: ended(events), 60)  # noqa: B023

    worker = Worker(studio, queue)
    worker.start()
    threads = [threading.Thread(target=ask, args=(f"client {place}",)) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    worker.stop()
    assert len(heard) == 48
    for events in heard.values():
        assert [isinstance(event, Ended) for event in events].count(True) == 1 and isinstance(events[-1], Ended)
        places = [event.place for event in events if isinstance(event, Finished)]
        assert len(places) == len(set(places))
    assert not queue.jobs and queue.waiting == 0
    ends = sum(queue.metrics.value(name) for name in ("done_total", "cancelled_total", "failed_total"))
    assert ends == queue.metrics.value("jobs_total") == 48


def test_stopping_tells_those_who_wait(studio: Studio, queue: Queue, order: Order) -> None:
    _, events = order("a")
    queue.close()
    assert "stopped" in events[-1].detail  # type: ignore[union-attr]
    assert queue.take() == []
