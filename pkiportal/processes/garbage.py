"""When Python looks for reference cycles, in each process that serves or works."""

import gc


def collect_seldom() -> None:
    """After everything is imported. A batch makes some ten thousand objects that reference counting frees; with Python's defaults each
    batch has all modules and models walked through several times, which took a seventh of the time of a bulk order.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def collect_young() -> None:
    """Between two tasks. What a task leaves behind that refers to itself is young and dead now. Looked for in the middle of the next
    one, what that has in use would be found alive, count as old, and stay long after: rows that referred to each other made a worker
    grow by a megabyte for each thousand certificates.
    """
    gc.collect(0)
