"""Each kind of work on a GPU with CUDA: it runs there, and says what the CPU says. On the CPU, that the tests run."""

import copy

import numpy as np
import pytest
import torch

from molft_utils import finetune, load_lipophilicity, load_model, predict, pretrain_mlm, settings
from molft_utils.experiments import PeakMemory, grid, stages
from molft_utils.influence import influence_kernel, influence_scores
from molft_utils.making.gpu import PRECISIONS, parity_errors
from molft_utils.peft_methods import apply_method
from molft_utils.profiles import EVERY_METHOD

CUDA = pytest.mark.gpu
DEVICES = ["cpu", pytest.param("cuda", marks=CUDA)]

#: In the Trainer, fp16 needs a GPU.
TRAINED = [("cpu", "fp32"), *(pytest.param("cuda", precision, marks=CUDA) for precision in PRECISIONS)]

#: Precision -> how far logits and loss, and gradients as a share of their length, may be from the published vectors.
#: Three to ten times what they are on a CPU; a GPU adds up in another order.
CLOSE = {"fp32": (2e-5, 1e-5), "fp16": (0.02, 0.01), "bf16": (0.15, 0.05)}

SETTINGS = settings("smoke", epochs=1, batch_size=8, influence_depth=2, influence_batch_size=8)


@pytest.fixture(scope="module")
def table():
    return load_lipophilicity().head(16)


def on_both(model, device):
    """The model on the device, and a copy on the CPU."""
    return model.to(device), copy.deepcopy(model).cpu()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("device", DEVICES)
def test_published_vectors(device, precision):
    errors, (close, gradients) = parity_errors(device, precision), CLOSE[precision]
    assert errors.pop("cls_grads") < gradients
    assert errors.keys() == {"mlm_logits", "mlm_loss", "cls_logits", "cls_loss"} and max(errors.values()) < close


@pytest.mark.parametrize(("device", "precision"), TRAINED)
def test_a_fit(device, precision, table):
    cfg = SETTINGS.replace(precision=precision)
    with PeakMemory() as memory:
        fit = finetune(load_model("mini"), table.head(8), table.tail(8), cfg)
    assert fit.model.device.type == device and memory.megabytes > 3  # 832,641 parameters of four bytes
    assert np.isfinite(fit.history.to_numpy()).all()
    there, here = on_both(fit.model, device)
    np.testing.assert_allclose(predict(there, table["smiles"]), predict(here, table["smiles"]), atol=1e-3)


@pytest.mark.parametrize(("device", "precision"), TRAINED)
def test_masked_language_modelling(device, precision, table):
    cfg = SETTINGS.replace(precision=precision, mlm_batch_size=8)
    fit = pretrain_mlm(load_model("mini", task="mlm"), table["smiles"].head(8), cfg, table["smiles"].tail(8))
    assert fit.model.device.type == device and np.isfinite(fit.history.to_numpy()).all()


@pytest.mark.parametrize("method", EVERY_METHOD)
@pytest.mark.parametrize("device", DEVICES)
def test_every_method(device, method, table):
    fit = finetune(apply_method(load_model("mini"), method, SETTINGS), table.head(8), None, SETTINGS)
    assert all(p.device.type == device for p in fit.model.parameters())
    assert np.isfinite(predict(fit.model, table["smiles"])).all()


@pytest.mark.parametrize("parameters", ["all", "head"])
@pytest.mark.parametrize("device", DEVICES)
def test_lissa_says_what_it_says_on_the_cpu(device, parameters, table):
    found = [
        influence_scores(model, table.head(8), table.head(4), table.tail(8), SETTINGS, parameters).scores
        for model in on_both(load_model("mini"), device)
    ]
    assert float(found[1].abs().max()) > 0
    torch.testing.assert_close(*found, rtol=1e-2, atol=1e-3 * float(found[1].abs().max()))


@pytest.mark.parametrize("sketch", [None, 256])
@pytest.mark.parametrize("device", DEVICES)
def test_the_kernel_says_what_it_says_on_the_cpu(device, sketch, table):
    kernels = [
        influence_kernel(m, table.head(8), table.tail(8), sketch=sketch) for m in on_both(load_model("mini"), device)
    ]
    there, here = (np.vstack([kernel.train, kernel.cross]) for kernel in kernels)
    np.testing.assert_allclose(there, here, rtol=1e-3, atol=1e-3 * np.abs(here).max())


@pytest.mark.gpu
def test_two_processes_of_a_grid_share_a_card(tmp_path):
    with stages.in_folder(tmp_path):
        rows = grid.run_grid(SETTINGS, selections=("none",), methods=("full", "lora"), n_jobs=2)
    assert rows["rmse"].between(0.1, 10).all() and (rows["peak_memory"] > 3).all()
