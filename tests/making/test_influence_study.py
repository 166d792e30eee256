"""The study of influence: the Hessian's scores, one query at a time."""

import numpy as np

from molft_utils import settings
from molft_utils.experiments import pipeline, selection, stages
from molft_utils.influence import influence_scores
from molft_utils.making import influence_study


def test_the_hessian_s_scores_are_those_of_each_query_alone_in_the_order_of_the_table(tmp_path, monkeypatch):
    monkeypatch.setattr(influence_study, "HESSIAN_DEPTH", 4)
    plan = dict(influence_curvature="hessian", influence_damping=0.25, influence_depth=4, influence_batch_size=8)
    cfg = settings("smoke", limit=16, epochs=1, **plan)
    with stages.in_folder(tmp_path):
        train = selection.with_secondary(cfg, selection.secondary_table(cfg))
        fit, queries = pipeline.after_mlm(cfg, train, early_stopping=False), pipeline.tables(cfg).test
        found = influence_study._hessian_scores(fit.model, train, queries.head(2), batch_size=8)
        alone = influence_scores(fit.model, train, queries.head(1), train, cfg)
    assert found.shape == (2, 32) and not np.allclose(found[0], found[1])
    np.testing.assert_allclose(found[0], alone.scores, rtol=1e-4)
