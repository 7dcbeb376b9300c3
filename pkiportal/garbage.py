"""When Python looks for reference cycles, in each process that serves or works."""

import gc


def collect_seldom() -> None:
    """After everything is imported. A batch makes some ten thousand objects that die by themselves; with Python's defaults each
    batch has all modules and models walked through several times, which took a seventh of the time of a bulk order.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def collect_young() -> None:
    """Between two batches. A request, its CSR and its certificate refer to each other; looked for now they are all dead and young, and
    cost a millisecond or two for five hundred. Looked for in the middle of a batch, those that are in use grow old, and stay when
    they are not any more: a worker grew by a megabyte for each thousand certificates.
    """
    gc.collect(0)
