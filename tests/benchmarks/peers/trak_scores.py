"""TRAK by its authors' library traker (Park et al. 2023, arXiv:2303.14186) on a fine-tuned MoLFormer.

The output function is the standardised prediction. What its library returns predicts the query's output; multiplied by
the derivative of the query's loss by its output, it predicts the loss.
"""

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.func import functional_call
from trak import TRAKer
from trak.modelout_functions import AbstractModelOutput
from trak.projectors import AbstractProjector, NoOpProjector
from trak.score_computers import BasicScoreComputer
from trak.utils import vectorize
from transformers import PreTrainedModel

from molft_utils.influence import Params
from molft_utils.influence.kernel import _sketcher
from molft_utils.training import molecule_batches

BATCH = 256  # molecules at a time: the library draws its random matrices again for every batch


class StandardisedPrediction(AbstractModelOutput):
    """The output function: prediction minus label, in standard deviations of the labels."""

    def __init__(self, std: float):
        self.std = std

    def get_output(
        self, model: PreTrainedModel, weights: Params, buffers: Params, ids: Tensor, mask: Tensor, label: Tensor
    ) -> Tensor:
        """Of one molecule: ids and mask [L]."""
        inputs = {"input_ids": ids[None], "attention_mask": mask[None]}
        return (functional_call(model, {**weights, **buffers}, kwargs=inputs).logits.squeeze() - label) / self.std

    @torch.no_grad()
    def get_out_to_loss_grad(
        self, model: PreTrainedModel, weights: Params, buffers: Params, batch: Sequence[Tensor]
    ) -> Tensor:
        """Minus the derivative of the squared error by the output, [B, 1]: a step of training goes down the loss."""
        ids, mask, label = batch
        return -2 * (model(ids, mask).logits - label[:, None]) / self.std


class CountSketch(AbstractProjector):
    """The projection of molft's kernel: its time does not depend on the number of buckets, the library's does."""

    def __init__(self, n_parameters: int, n_buckets: int):
        super().__init__(n_parameters, n_buckets, 0, "count sketch", "cpu")
        self.add_up = _sketcher(n_parameters, n_buckets, self.seed, torch.device("cpu"))

    def project(self, grads: Params, model_id: int) -> Tensor:
        return self.add_up(vectorize(grads, device="cpu"))


class InItsUnit(BasicScoreComputer):
    """As the library has it, but the inverse is not divided by its mean size: scores keep their unit."""

    def get_x_xtx_inv(self, grads: Tensor, xtx: Tensor) -> Tensor:
        return torch.linalg.solve(xtx + self.lambda_reg * torch.eye(len(xtx)), grads.T).T


class Trak:
    """The projected gradients of the training molecules and of the queries; scores with any regularisation."""

    def __init__(
        self, model: PreTrainedModel, train: pd.DataFrame, queries: pd.DataFrame, folder: Path, n: int, sketch: bool
    ):
        self.output, self.weights = StandardisedPrediction(model.config.label_std), model.state_dict()
        shutil.rmtree(folder, ignore_errors=True)  # the library would go on with what an earlier run left
        projection = {"projector": CountSketch(model.num_parameters(), n)} if sketch else {"proj_dim": n}
        self.trak = TRAKer(
            model, self.output, len(train), save_dir=str(folder), device="cpu", use_half_precision=False,
            score_computer=InItsUnit, logging_level=logging.ERROR, **projection,
        )  # fmt: skip
        self.trak.load_checkpoint(self.weights, model_id=0)
        batches, self.train_rows = molecule_batches(model, train, BATCH)
        for batch in batches:
            self.trak.featurize(tuple(batch.values()), num_samples=len(batch["labels"]))
        gradients = torch.as_tensor(np.array(self.trak.saver.current_store["grads"]))
        self.largest_eigenvalue = float(torch.linalg.matrix_norm(gradients @ gradients.T, 2))
        self.trak.saver.model_ids[0]["is_finalized"] = 1  # queries are refused otherwise; see scores
        self._add_queries(model, queries)
        self.trak.projector = NoOpProjector()  # done with; and its random matrix can be freed only once

    def scores(self, share: float) -> np.ndarray:
        """Scores [n_queries, n_train] in the unit of molft's, positive where helpful.

        The regularisation is a share of the largest eigenvalue; 0 is the library's default.
        """
        self.trak.score_computer.lambda_reg = share * self.largest_eigenvalue
        self.trak.saver.model_ids[0]["is_finalized"] = 0  # else the library keeps what another regularisation has made
        self.trak.finalize_features()
        products = np.array(self.trak.finalize_scores("queries")).T
        scores = np.empty(products.shape)
        scores[np.ix_(self.query_rows, self.train_rows)] = self.query_weights * products * products.shape[1] / 2
        return scores

    def _add_queries(self, model: PreTrainedModel, queries: pd.DataFrame) -> None:
        batches, self.query_rows = molecule_batches(model, queries, BATCH)
        self.trak.start_scoring_checkpoint("queries", self.weights, model_id=0, num_targets=len(queries))
        weights = []
        for batch in batches:
            self.trak.score(tuple(batch.values()), num_samples=len(batch["labels"]))
            weights.append(self.output.get_out_to_loss_grad(model, {}, {}, tuple(batch.values())))
        self.query_weights = torch.cat(weights).numpy()
