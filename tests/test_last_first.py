"""The pool of threads: everything is done, by as few as there is work for, and it ends as Python's own does."""

from __future__ import annotations

import threading
import time

import pytest

from pkiportal.last_first import LastFirstPool


def test_thread_that_was_busy_last_goes_on() -> None:
    with LastFirstPool(8) as pool:
        everyone = threading.Barrier(8)
        assert (
            len({work.result(20) for work in [pool.submit(lambda: (everyone.wait(20), threading.get_ident())[1]) for _ in range(8)]}) == 8
        )
        chosen = []
        for _ in range(50):
            time.sleep(0.002)  # until the last one is idle again
            chosen.append(pool.submit(threading.get_ident).result(20))
    assert len(set(chosen)) <= 2


def test_nothing_is_lost_or_done_twice_when_many_ask_at_once() -> None:
    done: list[int] = []
    with LastFirstPool(4) as pool:
        askers = [threading.Thread(target=lambda n=n: [pool.submit(done.append, n * 1000 + k) for k in range(1000)]) for n in range(4)]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join(30)
    assert sorted(done) == list(range(4000))


def test_what_has_not_begun_is_cancelled_at_its_end() -> None:
    begun, end = threading.Event(), threading.Event()
    pool = LastFirstPool(1)

    def wait() -> bool:
        begun.set()
        return end.wait(20)

    first = pool.submit(wait)
    assert begun.wait(20)
    second = pool.submit(pytest.fail)
    pool.shutdown(wait=False, cancel_futures=True)
    end.set()
    assert first.result(20)
    assert second.cancelled()
    pool.shutdown()
