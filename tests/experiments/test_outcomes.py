"""Each kind of result has a version, which stands for its code: a tiny run of it must give its stored outcome.

A code change that moves an outcome by more than 1e-4 turns this red; so does a version without an outcome of its own.
Then raise the version (results on disk are computed again), and write the outcomes with
``python tests/experiments/test_outcomes.py``.
"""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch

from molft_utils import predict, settings
from molft_utils.cache import LIBRARIES, Kind
from molft_utils.experiments import pipeline, selection
from molft_utils.training import embed

STORED = Path(__file__).parents[1] / "fixtures" / "outcomes.json"
TINY = dict(
    limit=16, epochs=1, influence_depth=2, influence_batch_size=8, shapley_chains=8, shapley_subset=12,
    shapley_permutations=2,
)  # fmt: skip
SMILES = ["CCO", "c1ccccc1N", "CC(=O)Oc1ccccc1C(=O)O"]
KINDS = {
    kind.name: kind
    for kind in (
        pipeline.FINGERPRINTS, pipeline.MLM, pipeline.REGRESSION, pipeline.GRADED, selection.POOLED,
        selection.INFLUENCE, selection.KERNEL, selection.PATH, selection.SHAPLEY,
    )
}  # fmt: skip


def outcomes() -> dict[str, list[float]]:
    """Some numbers of a tiny run of every kind of result, named ``<kind>/<variant>``."""
    cfg = settings("smoke", **TINY)
    continued = pipeline.mlm(cfg)
    numbers: dict = {"mlm": [*continued.history["train_loss"], *embed(continued.model, SMILES)[:, :3].ravel()]}
    fits = {method: pipeline.after_mlm(cfg, None, method) for method in ("full", "bitfit", "lora", "ia3")}
    for name, fit in {"baseline": pipeline.baseline(cfg), **fits}.items():
        losses = [*fit.history["train_loss"], *fit.history["validation_loss"]]
        numbers[f"regression/{name}"] = [*losses, *predict(fit.model, SMILES)]
    randomised = pipeline.baseline(settings("best", checkpoint="mini", **TINY))
    numbers["regression/randomised"] = [*randomised.history["train_loss"], *predict(randomised.model, SMILES)]
    secondary = selection.secondary_table(cfg)
    numbers["fingerprints"] = pipeline.fingerprint_predictions(cfg).head(4).to_numpy().ravel()
    scored = selection.influence(cfg, secondary)
    numbers["influence"] = [*scored.scores[:5].tolist(), scored.direction.residual]
    train = selection.with_secondary(cfg, secondary)
    both = selection.scored_fit(cfg, train)
    kernel = selection.kernel(both, train, secondary.head(2))
    numbers["kernel"] = [*(kernel.cross / kernel.largest_eigenvalue).ravel(), *kernel.train_residuals]
    path = selection.kernel_path(both, train, secondary.head(2))
    numbers["path"] = path.attributions(0.1).ravel()
    numbers["pooled"] = selection.pooled_vectors(both, secondary)[:2, :4].ravel()
    numbers["shapley"] = selection.shapley(cfg, secondary)[0][:6]
    grades = [pipeline.graded(fit, cfg).row for fit in (both, fits["lora"])]
    numbers["graded"] = [row[name] for row in grades for name in ("rmse", "validation_rmse", "rmse_low", "trained")]
    return {name: [float(x) for x in values] for name, values in numbers.items()}


def versions() -> dict:
    return {name: version(name).partition("+")[0] for name in LIBRARIES}


def run() -> dict:
    """One thread, so that sums are taken in one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return outcomes()
    finally:
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def found(stages):
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    if stored["libraries"] != versions():
        pytest.skip(f"the outcomes were stored with {stored['libraries']}: other libraries, other inputs")
    return run()


def test_every_kind_of_result_has_an_outcome(found):
    modules = pipeline, selection
    kinds = {value.name for module in modules for value in vars(module).values() if isinstance(value, Kind)}
    assert kinds == set(KINDS) == {name.split("/")[0] for name in found}


@pytest.mark.parametrize("kind", list(KINDS))
def test_an_outcome_changes_only_with_its_version(found, kind):
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    assert stored["kinds"][kind] == KINDS[kind].version, f"no outcome is stored for this version of {kind}"
    for name in (name for name in found if name.split("/")[0] == kind):
        np.testing.assert_allclose(
            found[name], stored["outcomes"][name], rtol=0, atol=1e-4, err_msg=f"{name}: raise the version of {kind}"
        )


if __name__ == "__main__":
    import os
    import tempfile

    with tempfile.TemporaryDirectory() as os.environ["MOLFT_STAGES"]:
        numbers = {name: [round(x, 6) for x in values] for name, values in run().items()}
    stored = {"libraries": versions(), "kinds": {n: k.version for n, k in KINDS.items()}, "outcomes": numbers}
    STORED.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
