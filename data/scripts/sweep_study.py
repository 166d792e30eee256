"""Which learning rate for which method? ``data/results/sweep.csv``: ``make results``, or
``python -m molft_utils.making.sweep_study``.

Every method is trained on the training split, from the encoder after masked-language modelling, with six learning rates
and one seed; the best rate *on the validation split* and its neighbours with two seeds more. For four and for twenty
epochs, all of which are trained; the report's one rate for all, 1e-7, for four. The ranks of LoRA on all linear layers
keep alpha at twice the rank, so that the scale of the update stays.
"""

import argparse
import dataclasses
from collections.abc import Iterator

from joblib import Parallel, delayed

from ..evaluation import records
from ..experiments import commit, graded, inputs_of, pipeline
from ..profiles import Settings, learning_rate_of, settings

REPORTED_RATE = 1e-7

#: Learning rates, two a decade.
RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)


@dataclasses.dataclass(frozen=True)
class Swept:
    """A method, the smallest of its six learning rates, and the rank of its updates (LoRA)."""

    method: str
    smallest: float
    rank: int = 4

    @property
    def rates(self) -> list[float]:
        """The six learning rates."""
        first = RATES.index(self.smallest)
        return list(RATES[first : first + 6])

    def settings(self, rate: float, epochs: int, seed: int) -> Settings:
        """The class profile with this rate."""
        ranks = {"lora_rank": self.rank, "lora_alpha": 2 * self.rank}
        return settings("class", epochs=epochs, seed=seed, **ranks, **{learning_rate_of(self.method): rate})

    def fit(self, cfg: Settings) -> pipeline.StagedFit:
        """Fine-tuning on the training split, from the encoder after masked-language modelling; all epochs count."""
        return pipeline.after_mlm(cfg, None, self.method, early_stopping=False)

    def inputs(self, cfg: Settings) -> dict:
        """What a fit depends on."""
        return {**inputs_of(cfg.of_method(self.method), pipeline.fit_kind(self.method)), "method": self.method}


#: Name in the table -> what is swept.
SWEPT = {
    "full": Swept("full", 1e-4),
    "bitfit": Swept("bitfit", 1e-3),
    "ia3": Swept("ia3", 1e-3),
    "lora, r = 4": Swept("lora", 1e-3),
    "lora-all, r = 4": Swept("lora-all", 3e-4),
    "lora-all, r = 16": Swept("lora-all", 3e-4, 16),
    "lora-all, r = 64": Swept("lora-all", 3e-4, 64),
}
EPOCHS = (4, 20)
MORE_SEEDS = (1, 2)


def run_fit(name: str, epochs: int, rate: float, seed: int) -> None:
    """Compute one row, unless it is on record with the same inputs."""
    swept = SWEPT[name]
    cfg = swept.settings(rate, epochs, seed)
    inputs = swept.inputs(cfg)
    key = {"name": name, "epochs": epochs, "rate": rate, "seed": seed}
    if records.is_recorded("sweep", key, inputs):
        return
    row = graded(swept.fit(cfg), cfg).row
    kept = {column: row[column] for column in ("validation_rmse", "rmse", "trained", "seconds")}
    records.add("sweep", key, {**kept, "commit": commit()}, inputs)


def around_best(name: str, epochs: int) -> list[float]:
    """The rate with the smallest validation error of the first seed, and its neighbours among the swept ones."""
    rows = records.read("sweep")
    rates = SWEPT[name].rates
    rows = rows[(rows["name"] == name) & (rows["epochs"] == epochs) & (rows["seed"] == 0) & rows["rate"].isin(rates)]
    best = rates.index(float(rows.loc[rows["validation_rmse"].idxmin(), "rate"]))
    return rates[max(best - 1, 0) : best + 2]


def run_sweep(n_jobs: int) -> None:
    """For each number of epochs: all rates with the first seed, then those around the best with the others."""
    for epochs in EPOCHS:
        for fits in (_first_seed(epochs), _other_seeds(epochs)):
            Parallel(n_jobs=n_jobs)(delayed(run_fit)(*fit) for fit in fits)


def _first_seed(epochs: int) -> Iterator[tuple[str, int, float, int]]:
    for name, swept in SWEPT.items():
        rates = [*swept.rates, REPORTED_RATE] if epochs == min(EPOCHS) else swept.rates
        yield from ((name, epochs, rate, 0) for rate in rates)


def _other_seeds(epochs: int) -> Iterator[tuple[str, int, float, int]]:
    for name in SWEPT:
        yield from ((name, epochs, rate, seed) for rate in around_best(name, epochs) for seed in MORE_SEEDS)


def main() -> None:
    """Make the table from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2, help="fits at a time, one thread each")
    run_sweep(parser.parse_args().jobs)


if __name__ == "__main__":
    main()
