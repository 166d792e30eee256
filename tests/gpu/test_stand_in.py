"""The package's code on a device that is not the CPU: a stand-in that refuses what a GPU would, and computes the same.

A tensor that is made on the wrong device, or read as an array on the card, fails here on any machine. What the Trainer
does is not seen: it asks for a GPU itself.
"""

import pandas as pd
import pytest
import torch
from stand_in import CARD, OnCard, card, put

from molft_utils import predict, settings
from molft_utils.influence import (
    conjugate_gradient,
    gradient,
    hvp,
    influence_kernel,
    influence_scores,
    molecule_loss,
    trained_parameters,
)
from molft_utils.molformer import MolformerForMaskedLM, MolformerForSequenceClassification
from molft_utils.peft_methods import apply_method
from molft_utils.profiles import EVERY_METHOD
from molft_utils.training import attention, embed, fill_mask, masked_scores, molecule_batches

TABLE = pd.DataFrame(
    {
        "smiles": ["CCO", "c1ccccc1O", "CC(=O)Nc1ccc(O)cc1", "CCN", "CCCCO", "Cc1ccccc1"],
        "label": [-0.3, 1.5, 0.4, -0.5, 0.9, 2.7],
    }
)
SETTINGS = settings("smoke", influence_depth=1, influence_batch_size=6)


def step(model):
    """Gradients of a training step, with dropout, and with a new Omega where the method draws one."""
    batches, _ = molecule_batches(model, TABLE, len(TABLE))
    model.train()(**batches[0]).loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).cpu()


def hessian_product(model):
    params, loss = trained_parameters(model), molecule_loss(model)
    batches, _ = molecule_batches(model, TABLE, len(TABLE))
    v = gradient(loss, params, batches)
    return torch.cat([x.flatten() for x in hvp(loss, params, batches[0], v).values()]).cpu()


def solved_head(model):
    params, loss = trained_parameters(model, "head"), molecule_loss(model)
    batches, _ = molecule_batches(model, TABLE, 3)
    v = gradient(loss, params, batches)
    found = conjugate_gradient(loss, params, batches, v, damping=0.1, depth=2)
    return torch.cat([x.flatten() for x in found.direction.values()]).cpu()


def influence(model, parameters):
    return influence_scores(model, TABLE, TABLE.head(3), TABLE.tail(3), SETTINGS, parameters).scores


def kernel(model, sketch):
    found = influence_kernel(model, TABLE, TABLE.head(2), sketch=sketch)
    return torch.from_numpy(found.scores(found.largest_eigenvalue))


REGRESSION = {
    "predict": lambda model: torch.from_numpy(predict(model, TABLE["smiles"])),
    "embed": lambda model: torch.from_numpy(embed(model, TABLE["smiles"])),
    "attention": lambda model: torch.from_numpy(attention(model, "CCO")[1]),
    "LiSSA": lambda model: influence(model, "all"),
    "LiSSA on the head": lambda model: influence(model, "head"),
    "conjugate gradients": solved_head,
    "Hessian": hessian_product,
    "kernel": lambda model: kernel(model, None),
    "kernel, sketched": lambda model: kernel(model, 64),
}
MASKED = {
    "masked_scores": lambda model: torch.tensor(masked_scores(model, list(TABLE["smiles"])).loss),
    "fill_mask": lambda model: torch.tensor(fill_mask(model, "CCO", 1)["probability"].to_numpy()),
}


def assert_same_on_the_card(make, compute):
    """Two models with the same weights, one of them on the stand-in, give the same."""
    torch.manual_seed(1)
    here = make()
    expected = compute(here)
    torch.manual_seed(1)
    there = make()
    with card():
        found = compute(put(there))
    assert all(isinstance(p, OnCard) for p in there.parameters()) and expected.abs().max() > 0
    torch.testing.assert_close(found, expected, atol=1e-7, rtol=1e-5)


@pytest.fixture
def config(tiny):
    tiny.deterministic_eval = True
    return tiny


@pytest.mark.parametrize("what", REGRESSION)
def test_a_regression_model_gives_the_same_on_a_card(what, config):
    assert_same_on_the_card(lambda: MolformerForSequenceClassification(config).eval(), REGRESSION[what])


@pytest.mark.parametrize("what", MASKED)
def test_a_masked_language_model_gives_the_same_on_a_card(what, config):
    assert_same_on_the_card(lambda: MolformerForMaskedLM(config).eval(), MASKED[what])


@pytest.mark.parametrize("method", EVERY_METHOD)
def test_a_training_step_gives_the_same_on_a_card(method, config):
    make = lambda: apply_method(MolformerForSequenceClassification(config), method, SETTINGS)  # noqa: E731
    assert_same_on_the_card(make, step)


def test_the_stand_in_refuses_what_a_gpu_refuses():
    with card():
        there = torch.ones(3, device=CARD)
        with pytest.raises(RuntimeError, match="same device"):
            there + torch.ones(3)
        with pytest.raises((RuntimeError, TypeError)):
            there.numpy()
        assert torch.equal((2 * there + torch.tensor(1.0)).cpu(), torch.full((3,), 3.0)), "a number may come along"
        assert there[torch.tensor([0, 2])].shape == (2,), "and so may indices"
        there += 1
        assert isinstance(there, OnCard) and there.tolist() == [2, 2, 2]
