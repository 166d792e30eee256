"""Inverse products by LiSSA and by conjugate gradients: the error that is left after an equal number of products.

On the ridge regression of the tests, whose solution is known in closed form, and on the fine-tuned mini checkpoint,
whose Hessian is solved in double precision. All get the same damping, the same scale and the same batch size.
"""

import copy
import runpy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pandas as pd
import torch
from dattri.func.hessian import ihvp_cg, ihvp_lissa
from dattri.func.utils import flatten_func
from pydvl.influence.torch.batch_operation import HessianBatchOperation
from pydvl.influence.torch.operator import CgOperator, HessianOperator, LissaOperator
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.data import DataLoader, TensorDataset

from molft_utils.files import ROOT
from molft_utils.influence import Params, conjugate_gradient, gradient, lissa
from molft_utils.training import model_tokens, pad
from problem import problem
from rows import Row, spread, timed, write

SEEDS = (0, 1, 2, 3, 4)

#: Products on single batches for LiSSA, and passes over all batches for conjugate gradients.
RIDGE_PRODUCTS, RIDGE_PASSES, RIDGE_BATCH = 1000, 20, 64
MINI_PRODUCTS, MINI_PASSES, MINI_BATCH, MINI_MOLECULES = 60, 15, 16, 64

#: The mini checkpoint's damping, as a share of the largest eigenvalue; a smaller one meets negative eigenvalues.
MINI_DAMPING = 0.25


class Problem:
    """(H + damping I) s = v for a module whose mean squared error has the Hessian H: ``module(x)`` [n] predicts y [n].

    ``v`` and the ``exact`` solution are [p]; ``damping`` and ``scale`` are as :func:`~molft_utils.influence.lissa` has
    them.
    """

    def __init__(self, module: nn.Module, x: Tensor, y: Tensor, batch_size: int):
        self.module, self.x, self.y, self.batch_size = module, x, y, batch_size
        self.params: Params = {name: p.detach() for name, p in module.named_parameters()}
        order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
        self.batches = [(x[rows], y[rows]) for rows in order.split(batch_size)]
        self.v, self.exact = torch.empty(0), torch.empty(0)
        self.damping, self.scale = 0.0, 0.0

    def losses(self, params: Params, batch: Sequence[Tensor]) -> Tensor:
        """Squared errors [n], as molft takes them."""
        return (functional_call(self.module, params, (batch[0],)) - batch[1]) ** 2

    def for_molft(self) -> tuple[Callable, Params, list, Params]:
        """What molft's solvers are given: loss, parameters, batches, and v by the parameters' names."""
        parts = self.v.split([p.numel() for p in self.params.values()])
        v = {name: part.view_as(p) for (name, p), part in zip(self.params.items(), parts, strict=True)}
        return self.losses, self.params, self.batches, v

    def error(self, found: Tensor) -> float:
        """||found - exact|| / ||exact||."""
        return float((found.reshape(-1).to(self.exact) - self.exact).norm() / self.exact.norm())


class Linear(nn.Module):
    def __init__(self, w: Tensor):
        super().__init__()
        self.w = nn.Parameter(w)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.w


class Packed(nn.Module):
    """A MoLFormer that takes ids and mask as one tensor [n, 2, L], and predicts in standard deviations.

    The tensor is of floating point, as dattri differentiates by all that a loss is given.
    """

    def __init__(self, model: Any):
        super().__init__()
        self.model, self.std = model, model.config.label_std

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x[:, 0].long(), x[:, 1].long()).logits.squeeze(-1) / self.std


def ridge_problem() -> Problem:
    """That of ``tests/influence/ridge_problem.py``."""
    ridge = runpy.run_path(str(ROOT / "tests" / "influence" / "ridge_problem.py"))["Ridge"]()
    found = Problem(Linear(ridge.params["w"]), ridge.train[0], ridge.train[1], RIDGE_BATCH)
    found.v, found.exact, found.damping = ridge.v["w"], ridge.exact, ridge.damping
    found.scale = 1.5 * (ridge.largest + ridge.damping)
    return found


def mini_problem() -> Problem:
    """Some training molecules of the bank's model; v is the gradient of validation molecules' mean loss."""
    given = problem(0)
    model, train = given.fit.model, given.train.sample(MINI_MOLECULES, random_state=0)
    std, single = model.config.label_std, Packed(model)
    x, y = _packed(model, train, std)
    found = Problem(single, x, y, MINI_BATCH)
    double = Problem(copy.deepcopy(single).double(), x, y.double(), MINI_BATCH)
    target = _packed(model, given.validation.head(32), std)
    double.v = flat(gradient(double.losses, double.params, [(target[0], target[1].double())]))
    plan: dict[str, Any] = dict(damping=MINI_DAMPING, relative=True, depth=20, curvature="hessian")
    estimated = lissa(*double.for_molft(), **plan)
    found.damping, found.scale = estimated.damping, estimated.scale
    plan = dict(damping=found.damping, depth=60, tolerance=1e-8, curvature="hessian")
    solved = conjugate_gradient(*double.for_molft(), **plan)
    found.v, found.exact = double.v.float(), flat(solved.direction)
    return found


def flat(params: Params) -> Tensor:
    return torch.cat([p.detach().reshape(-1) for p in params.values()])


def _packed(model: Any, table: pd.DataFrame, std: float) -> tuple[Tensor, Tensor]:
    batch = pad([{"input_ids": ids} for ids in model_tokens(model, table["smiles"])])
    labels = torch.tensor(table["label"].to_numpy(), dtype=torch.float32) / std
    return torch.stack([batch["input_ids"], batch["attention_mask"]], dim=1).float(), labels


def molft_lissa(given: Problem, products: int, seed: int) -> Tensor:
    """The products for the residual, one on each batch, are part of the budget."""
    plan: dict[str, Any] = dict(damping=given.damping, scale=given.scale, seed=seed, curvature="hessian")
    solved = lissa(*given.for_molft(), **plan, depth=products - len(given.batches))
    assert solved.n_products + solved.n_overhead <= products
    return flat(solved.direction)


def molft_cg(given: Problem, passes: int, seed: int) -> Tensor:
    """The last pass checks the residual."""
    plan: dict[str, Any] = dict(damping=given.damping, tolerance=0.0, curvature="hessian")
    return flat(conjugate_gradient(*given.for_molft(), **plan, depth=passes - 1).direction)


def pydvl_lissa(given: Problem, products: int, seed: int) -> Tensor:
    """Its tolerance would end it early; zero makes it spend the budget."""
    torch.manual_seed(seed)
    operation = HessianBatchOperation(given.module, nn.functional.mse_loss)
    options = dict(regularization=given.damping, maxiter=products, scale=given.scale, rtol=0.0)
    return LissaOperator(operation, _loader(given), **options, warn_on_max_iteration=False).apply(given.v)


def pydvl_cg(given: Problem, passes: int, seed: int) -> Tensor:
    """The first pass is for the residual of its start."""
    operator = HessianOperator(given.module, nn.functional.mse_loss, _loader(given))
    options = dict(regularization=given.damping, rtol=0.0, atol=0.0, maxiter=passes - 1)
    return CgOperator(operator, **options, warn_on_max_iteration=False).apply(given.v).detach()


def dattri_lissa(given: Problem, products: int, seed: int) -> Tensor:
    """Its damping is a share of the scale."""
    torch.manual_seed(seed)
    solve = ihvp_lissa(
        _flat_loss(given), batch_size=given.batch_size, recursion_depth=products,
        damping=given.damping / given.scale, scaling=given.scale,
    )  # fmt: skip
    return solve((flat(given.params), given.x, given.y), given.v, in_dims=(None, 0, 0)).detach()


def dattri_cg(given: Problem, passes: int, seed: int) -> Tensor:
    """All molecules are one batch; the first pass is for the residual of its start."""
    solve = ihvp_cg(_flat_loss(given), max_iter=passes - 1, regularization=given.damping)
    return solve((flat(given.params), given.x, given.y), given.v).detach()


def _loader(given: Problem) -> DataLoader:
    return DataLoader(TensorDataset(given.x, given.y), batch_size=given.batch_size)


def _flat_loss(given: Problem) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The mean loss as a function of the flat parameters, as dattri takes it."""

    @flatten_func(given.module)
    def loss(params: Params, x: Tensor, y: Tensor) -> Tensor:
        return nn.functional.mse_loss(functional_call(given.module, params, (x,)), y)

    return loss


#: Solver -> library -> its solution after so many products (LiSSA) or passes (conjugate gradients).
SOLVERS: dict[str, dict[str, Callable[[Problem, int, int], Tensor]]] = {
    "LiSSA": {"molft": molft_lissa, "pydvl": pydvl_lissa, "dattri": dattri_lissa},
    "conjugate gradients": {"molft": molft_cg, "pydvl": pydvl_cg, "dattri": dattri_cg},
}


def compare() -> list[Row]:
    budgets = {"LiSSA": RIDGE_PRODUCTS, "conjugate gradients": RIDGE_PASSES}
    rows = solver_rows("ridge, 65 parameters", ridge_problem(), budgets, SEEDS)
    budgets = {"LiSSA": MINI_PRODUCTS, "conjugate gradients": MINI_PASSES}
    return rows + solver_rows("mini, 832,641 parameters", mini_problem(), budgets, SEEDS[:3])


def solver_rows(name: str, given: Problem, budgets: dict[str, int], seeds: Sequence[int]) -> list[Row]:
    """Error and CPU time per product of each solver and library; the libraries take turns."""
    rows = []
    for solver, libraries in SOLVERS.items():
        budget = budgets[solver]
        products = budget if solver == "LiSSA" else budget * len(given.batches)
        case, note = f"{name}: {solver}", f"median and range of {len(seeds)} seeds; {products} products on a batch"
        runs: dict[str, list[tuple[Tensor, float]]] = {library: [] for library in libraries}
        for seed in seeds:
            for library, solve in libraries.items():
                runs[library].append(timed(partial(solve, given, budget, seed)))
        for library, found in runs.items():
            errors, seconds = [given.error(x) for x, _ in found], [1000 * time / products for _, time in found]
            rows.append(Row(f"{case}, error", library, solver, *spread(errors), "relative error", note))
            rows.append(Row(f"{case}, time a product", library, solver, *spread(seconds), "ms", note))
    return rows


if __name__ == "__main__":
    write("solvers", compare())
