"""How often Python looks for reference cycles, set once in each process that serves or works."""

import gc


def collect_seldom() -> None:
    """After everything is imported. A batch makes some ten thousand objects that die by themselves; with Python's defaults each
    batch has all modules and models walked through several times, which took a seventh of the time of a bulk order.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
