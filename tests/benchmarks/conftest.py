"""`make bench`: times as ratios within one run, as the machines differ."""

import time

import pytest


@pytest.fixture
def fastest():
    """Seconds of each run by name: the fastest of some rounds, in which the runs take turns."""

    def measure(rounds, **runs):
        seconds = {name: [] for name in runs}
        for _ in range(rounds):
            for name, run in runs.items():
                began = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - began)
        found = {name: min(times) for name, times in seconds.items()}
        print("".join(f"\n{name}: {least:.3f} s" for name, least in found.items()))
        return found

    return measure
