"""What is measured: each kind of work runs, and gives a time and a peak of memory."""

import pytest

from molft_utils import settings
from molft_utils.making import costs

SMALL = dict(limit=8, influence_depth=1, influence_batch_size=8, epochs=1)


@pytest.mark.parametrize("what", [what for what in costs.UNITS if what != "grid"])
def test_each_kind_of_work_is_measured(what):
    found = costs.cost(what, settings("smoke", **SMALL))
    assert found["seconds"] > 0 and found["megabytes"] > 50 and found["unit"] == costs.UNITS[what]
    assert found["batch"] == (8 if what == "lissa" else 16)


def test_the_last_of_several_times_counts(monkeypatch):
    times = iter([9.0, 3.0])
    monkeypatch.setitem(costs.WORK, "fit", lambda cfg, parts: next(times))
    assert costs.cost("fit", settings("smoke", **SMALL), repeats=2)["seconds"] == 3.0


def test_two_cells_of_a_grid_share_a_card(monkeypatch):
    run_grid, asked = costs.grid.run_grid, []

    def in_this_process(cfg, n_jobs, **options):  # two processes take half a minute to start; the grid's own tests do
        asked.append(n_jobs)
        return run_grid(cfg, **options)

    monkeypatch.setattr(costs.grid, "run_grid", in_this_process)
    found = costs.grid_cost(settings("smoke", **SMALL))
    assert asked == [2] and found["seconds"] > 0 and found["unit"] == "cell"
    assert found["megabytes"] > 100, "of both processes"
