"""Differentiation through a whole training by bergson's trainer (MAGIC: Ilyas & Engstrom 2025, arXiv:2504.16430).

The training is that of molft's :class:`~molft_utils.influence.Recipe`, with its batches and its start; the optimiser,
the saved states and the way back are bergson's, with torchopt's differentiable AdamW.
"""

import copy
import tempfile

import numpy as np
import pandas as pd
import torch
import torchopt
from bergson.magic.trainer import BackwardState, Trainer
from torch import Tensor, nn

from molft_utils.influence import Recipe, Training


class WeightedLoss(nn.Module):
    """The loss of a batch as the recipe has it: sum_i w_i loss_i / B."""

    def __init__(self, training: Training):
        super().__init__()
        self.model = copy.deepcopy(training.model)  # its parameters will leave for bergson's state

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels_: Tensor, example_weight: Tensor) -> Tensor:
        residuals = self.model(input_ids, attention_mask).logits.squeeze(-1) - labels_
        return (example_weight * (residuals / self.model.config.label_std) ** 2).sum() / len(labels_)


class Batches:
    """The recipe's batches in the form of bergson's ``DataStream``, with a weight for each training molecule."""

    device = torch.device("cpu")

    def __init__(self, training: Training):
        self.batches, self.weights = training.batches, nn.Parameter(torch.ones(training.n))

    @property
    def requires_grad(self) -> bool:
        return self.weights.requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.weights.requires_grad = value

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        rows, batch = self.batches[step]
        inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
        return {**inputs, "labels_": batch["labels"], "example_weight": self.weights[rows]}


def unrolled_by_bergson(recipe: Recipe, train: pd.DataFrame, queries: pd.DataFrame) -> np.ndarray:
    """Scores [1, n_train] for the mean loss of the queries, in molft's sign and unit."""
    training = Training(recipe, train)
    data, rates = Batches(training), torch.tensor(training.rates)
    optimiser = torchopt.adamw(
        lambda step: rates[step], betas=(recipe.beta1, recipe.beta2), eps=0.0, eps_root=recipe.eps_root,
        weight_decay=recipe.weight_decay,
    )  # fmt: skip
    trainer, state = Trainer.initialize(WeightedLoss(training), optimiser)
    with tempfile.TemporaryDirectory() as folder:
        state = trainer.train(state, data, save_dir=folder, save_mode="all", max_grad_norm=recipe.clip)
        theta = torch.cat([state.params[f"model.{name}"].detach().flatten() for name in training.shapes])
        gradient = training.mean_loss_gradient(theta, queries).split([s.numel() for s in training.shapes.values()])
        by_parameter = {
            f"model.{name}": g.view(s) for (name, s), g in zip(training.shapes.items(), gradient, strict=True)
        }
        moments = [torch.zeros_like(t) for t in state.differentiable_tensors()[len(state.params) :]]
        start = BackwardState({name: by_parameter[name] for name in state.params}, moments, torch.zeros(training.n))
        found = trainer.backward(folder, data, start, state, save_mode="all", max_grad_norm=recipe.clip)
    return -training.n * found.weight_grads.detach().double().numpy()[None]
