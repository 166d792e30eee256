"""Each kind of work on a GPU with CUDA: it runs there, and says what the CPU says. On the CPU, that the tests run."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from molft_utils import finetune, load_lipophilicity, load_model, predict, pretrain_mlm, settings
from molft_utils.experiments import PeakMemory, grid
from molft_utils.influence import influence_kernel, influence_scores
from molft_utils.molformer import MolformerConfig, MolformerForSequenceClassification
from molft_utils.peft_methods import apply_method
from molft_utils.settings import EVERY_METHOD

CUDA = pytest.mark.gpu
DEVICES = ["cpu", pytest.param("cuda", marks=CUDA)]

PARITY = Path(__file__).parents[1] / "fixtures" / "parity.safetensors"  # of the published code, for random weights
PRECISIONS = {"fp32": None, "fp16": torch.float16, "bf16": torch.bfloat16}  # None: no autocast

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
    with safe_open(PARITY, "pt", device=device) as file:
        expected = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dictionary
        model = MolformerForSequenceClassification(MolformerConfig(**json.loads(file.metadata()["config"])))
    weights = {key.split("state_dict/")[1]: value for key, value in expected.items() if "state_dict/" in key}
    model.load_state_dict({name: weights[name] for name in model.state_dict()})
    inputs = {"input_ids": expected["input_ids"], "attention_mask": expected["attention_mask"]}
    dtype = PRECISIONS[precision]
    with torch.autocast(device, dtype=dtype, enabled=dtype is not None):
        output = model.to(device).eval()(**inputs, labels=expected["cls_labels"])
    output.loss.backward()
    close, close_gradients = CLOSE[precision]
    torch.testing.assert_close(output.logits.flatten().float(), expected["cls_logits"].flatten(), atol=close, rtol=0)
    torch.testing.assert_close(output.loss.float(), expected["cls_loss"].reshape(()), atol=close, rtol=0)
    pairs = [(p.grad.flatten(), expected[f"cls_grads/{name}"].flatten()) for name, p in model.named_parameters()]
    found, wanted = (torch.cat(side) for side in zip(*pairs, strict=True))
    assert (found - wanted).norm() < close_gradients * wanted.norm()


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
def test_two_processes_of_a_grid_share_a_card(tmp_path, monkeypatch):
    monkeypatch.setenv("MOLFT_STAGES", str(tmp_path))
    rows = grid.run_grid(SETTINGS, selections=("none",), methods=("full", "lora"), n_jobs=2)
    assert rows["rmse"].between(0.1, 10).all() and (rows["peak_memory"] > 3).all()
