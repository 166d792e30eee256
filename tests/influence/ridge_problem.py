"""A ridge regression whose inverse products and scores are known in closed form; five molecules."""

import pandas as pd
import torch

from molft_utils.influence import gradient, lissa

TABLE = pd.DataFrame(
    {"smiles": ["CCO", "c1ccccc1N", "CC(=O)O", "CCCCCCCC", "C1CCNCC1C(=O)OCC"], "label": [0, 1, -1, 4, 1.5]}
)


def squared_error(params, batch):
    x, y = batch
    return (x @ params["w"] - y) ** 2


class Ridge:
    """A ridge regression with 65 parameters whose inverse product and scores are known in closed form."""

    def __init__(self, n=3000, p=65, seed=0, condition=60.0):
        generator = torch.Generator().manual_seed(seed)
        basis = torch.linalg.qr(torch.randn(p, p, generator=generator, dtype=torch.float64))[0]
        spread = torch.logspace(0, -3, p, dtype=torch.float64).sqrt()
        truth = torch.randn(p, generator=generator, dtype=torch.float64)

        def draw(m):
            x = torch.randn(m, p, generator=generator, dtype=torch.float64) * spread @ basis.T
            return x, x @ truth + 0.5 * torch.randn(m, generator=generator, dtype=torch.float64)

        self.train, self.target, self.candidates = draw(n), draw(300), draw(300)
        x, y = self.train
        self.hessian = 2 * x.T @ x / n
        eigenvalues = torch.linalg.eigvalsh(self.hessian)
        self.largest = float(eigenvalues[-1])
        self.damping = float((eigenvalues[-1] - condition * eigenvalues[0]) / (condition - 1))
        self.curvature = self.hessian + self.damping * torch.eye(p, dtype=torch.float64)
        # The objective is mean squared error + damping / 2 |w|^2, whose Hessian is H + damping.
        self.params = {"w": torch.linalg.solve(self.curvature, 2 * x.T @ y / n)}
        self.v = gradient(squared_error, self.params, [self.target])
        self.exact = torch.linalg.solve(self.curvature, self.v["w"])

    def batches(self, size=64, seed=0):
        order = torch.randperm(len(self.train[0]), generator=torch.Generator().manual_seed(seed))
        return [(self.train[0][i], self.train[1][i]) for i in order.split(size)]

    def error(self, solution):
        return float((solution.direction["w"] - self.exact).norm() / self.exact.norm())

    def lissa(self, batches, **options):
        return lissa(squared_error, self.params, batches, self.v, damping=self.damping, **options)
