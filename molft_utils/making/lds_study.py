"""Results of record about attribution: which scores predict what retraining really does?

``data/results/lds.csv`` has one row for each score, damping and seed of the scored model; ``make results`` makes it.
The damping of a score is the one that is best on the *validation* molecules, averaged over the seeds; the rows with it
are marked ``shown``. All are graded on the test molecules as well.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from ..data import table_hash
from ..evaluation import BANK, lds, load_bank, records
from ..experiments import commit, inputs_of, pipeline, selection
from ..files import DATA_FOLDER, file_hash
from ..influence import Kernel, influence_kernel
from ..profiles import settings

#: Shares of the largest eigenvalue.
DAMPINGS = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)

#: Buckets of the sketch.
SKETCH = 65_536


def scored(kernel: Kernel, seed: int) -> Iterator[tuple[str, float, np.ndarray]]:
    """Name, damping (0 where there is none) and scores [n_queries, n_train] of each method."""
    shape = kernel.cross.shape
    yield "random", 0.0, np.random.default_rng(seed).normal(size=shape)
    yield "gradient product", 0.0, kernel.gradient_products()
    for damping in DAMPINGS:
        yield "Gauss-Newton", damping, kernel.scores(damping * kernel.largest_eigenvalue)


def run_lds(seed: int) -> None:
    """Compute the rows of one seed, unless they are on record with the same inputs."""
    cfg = settings("class", seed=seed)
    train = selection.with_secondary(cfg, selection.secondary_table(cfg))
    inputs = {
        **inputs_of(cfg, pipeline.AFTER_MLM),
        "train": table_hash(train),
        "bank": file_hash(DATA_FOLDER / BANK),
        "dampings": DAMPINGS,
        "sketch": SKETCH,
    }
    last = {"score": "Gauss-Newton", "damping": DAMPINGS[-1], "seed": seed}
    if records.is_recorded("lds", last, inputs):
        return
    parts = pipeline.tables(cfg)
    model = pipeline.after_mlm(cfg, train, early_stopping=False).model
    queries = pd.concat([parts.validation, parts.test], ignore_index=True)
    kernel = influence_kernel(model, train, queries, sketch=SKETCH)
    for name, damping, scores in scored(kernel, seed):
        on_validation, on_test = np.split(scores, [len(parts.validation)])
        validation, test = lds(on_validation, load_bank("validation")), lds(on_test, load_bank("test"))
        row = {"validation": validation.value, "test": test.value, "low": test.interval[0], "high": test.interval[1]}
        key = {"score": name, "damping": damping, "seed": seed}
        records.add("lds", key, {**row, "ceiling": test.ceiling, "commit": commit()}, inputs)
