"""Parameter-efficient fine-tuning with the peft library: full, BitFit, LoRA and (IA)^3. The head always trains.

======== ================================================================================ =========================
method   what trains besides the head                                                      paper
======== ================================================================================ =========================
full     everything
bitfit   the encoder's biases                                                              Ben-Zaken et al. 2022
lora     W + (alpha / r) B A on query and value, A [r, in] and B [out, r], B = 0 at first  Hu et al. 2022
lora-all the same on all six linear layers of an encoder layer                             Schulman et al. 2025
ia3      a factor for each key, value and inner feed-forward activation, 1 at first        Liu et al. 2022
======== ================================================================================ =========================
"""

import json
import warnings
from pathlib import Path
from typing import cast

import torch
from peft import IA3Config, LoraConfig, PeftConfig, PeftModel, get_peft_model, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel

from .errors import CheckpointError, MolftError, SettingsError
from .molformer import FeatureMap, MolformerConfig
from .settings import EVERY_METHOD, Settings

# peft uses the old name of a property of transformers. Here, as notebooks call peft as well.
warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)

HEAD = "classifier"

#: The second feed-forward layer, as a pattern of its whole name.
FEED_FORWARD = r".*\.layer\.\d+\.output\.dense"

#: Method -> the layers to which LoRA adds an update: a list of ends of their names, or a pattern of whole names. An
#: encoder layer has attention.self.query, .key and .value, attention.output.dense, intermediate.dense, output.dense;
#: the end "output.dense" is that of two of them (``FEED_FORWARD`` is one). A further method is a line here, and a name
#: in ``EVERY_METHOD``.
LORA_LAYERS: dict[str, list[str] | str] = {
    "lora": ["attention.self.query", "attention.self.value"],
    "lora-all": "all-linear",
}

#: Files of a saved adapter, besides the configuration and peft's own.
BITFIT, OMEGA, BASE = "bitfit.safetensors", "omega.safetensors", "base.json"

#: What peft alone saves lacks Omega and the labels' mean and standard deviation, and would come back as another model
#: without a word. With this "type of task" peft refuses to load it, and shows the remedy.
NOT_ALONE = f"none; write an adapter with {__name__}.save_adapter, and read it with load_adapter"


def apply_method(model: PreTrainedModel, method: str, settings: Settings) -> PreTrainedModel | PeftModel:
    """Choose which parameters of a plain regression model train. It is changed in place; LoRA and (IA)^3 wrap it."""
    if method == "full":
        return cast(PreTrainedModel, model.requires_grad_(True))
    if method == "bitfit":
        return _bitfit(model)
    # The layers of the head one by one: peft's (IA)^3 cannot unload a saved module without a weight of its own.
    head = [f"{HEAD}.{name}" for name, m in model.get_submodule(HEAD).named_children() if isinstance(m, nn.Linear)]
    if method in LORA_LAYERS:
        return _wrapped(model, _lora(settings, LORA_LAYERS[method], head))
    if method == "ia3":
        return _wrapped(model, _ia3(head))
    raise SettingsError(f"unknown method {method!r}; choose one of {', '.join(EVERY_METHOD)}")


def _bitfit(model: PreTrainedModel) -> PreTrainedModel:
    """Only biases and the head train. peft has no class for it."""
    for name, p in model.named_parameters():
        p.requires_grad_(name.endswith(".bias") or name.startswith(HEAD))
    return model


def _lora(settings: Settings, layers: list[str] | str, head: list[str]) -> LoraConfig:
    """W x becomes W x + (alpha / r) B A x; only A [r, in] and B [out, r] train."""
    return LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=layers,
        exclude_modules=rf"{HEAD}\..*",  # for "all-linear": the head trains itself
        modules_to_save=head,
    )


def _ia3(head: list[str]) -> IA3Config:
    """Key and value x become l * x; the second feed-forward layer reads l * x. Only the vectors l train."""
    targets = rf"(.*\.attention\.self\.(key|value))|({FEED_FORWARD})"
    return IA3Config(target_modules=targets, feedforward_modules=FEED_FORWARD, modules_to_save=head)


def _wrapped(model: PreTrainedModel, config: PeftConfig) -> PeftModel:
    hold_omega(model)
    try:
        wrapped = cast(PeftModel, get_peft_model(model, config))
    except ImportError as error:  # torchao is too old for peft, as on Colab
        raise MolftError(f"peft cannot start: {error}. Remedy: pip uninstall --yes torchao") from error
    config.task_type = NOT_ALONE
    return wrapped


def hold_omega(model: nn.Module, hold: bool = True) -> None:
    """Draw no new Omega in training: an adapter fits the Omega that it was trained with."""
    for module in _feature_maps(model):
        module.redraw_in_training = not hold


def trainable(model: nn.Module) -> tuple[int, int]:
    """The numbers of parameters that train, and of all; a head that peft keeps twice counts once."""
    counted = [p for name, p in model.named_parameters() if ".original_module." not in name]
    return sum(p.numel() for p in counted if p.requires_grad), sum(p.numel() for p in counted)


def merged(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """A plain model with the same predictions, all of whose parameters train: LoRA and (IA)^3 go into the weights."""
    plain = model.merge_and_unload() if isinstance(model, PeftModel) else model
    hold_omega(plain, not plain.config.redraw_in_training)
    return plain.requires_grad_(True)


def save_adapter(model: PreTrainedModel | PeftModel, folder: str | Path) -> None:
    """Write what LoRA, (IA)^3 or BitFit trained, the head, and what they need: Omega and the configuration."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(model, PeftModel):
        model.save_pretrained(str(folder))
    else:
        trained = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
        if len(trained) == len(list(model.parameters())):
            raise CheckpointError("all parameters of this model train; write it with its save_pretrained")
        save_file(trained, folder / BITFIT)
    save_file({str(i): m.weight.contiguous() for i, m in enumerate(_feature_maps(model))}, folder / OMEGA)
    (folder / BASE).write_text(json.dumps(_mean_embedding(model).tolist()), encoding="utf-8")
    model.config.save_pretrained(folder)


def load_adapter(base: PreTrainedModel, folder: str | Path) -> PreTrainedModel | PeftModel:
    """Put what :func:`save_adapter` wrote on the checkpoint ``base`` from which it was trained; changed in place."""
    folder = Path(folder)
    if not (folder / BASE).exists():
        raise CheckpointError(f"{folder} holds no {BASE}: save_adapter writes it, peft's save_pretrained leaves it out")
    saved, embedding = MolformerConfig.from_pretrained(folder), torch.tensor(json.loads((folder / BASE).read_text()))
    sizes = [(c.classifier_head, c.hidden_size, c.num_hidden_layers) for c in (saved, base.config)]
    if sizes[0] != sizes[1] or not torch.allclose(_mean_embedding(base), embedding, atol=1e-6):
        raise CheckpointError(f"{folder} was trained from another checkpoint or head than this one; load it on its own")
    for name in ("label_mean", "label_std", "canonical_smiles", "max_tokens"):
        setattr(base.config, name, getattr(saved, name))
    omega = load_file(folder / OMEGA)
    for i, module in enumerate(_feature_maps(base)):
        module.weight = omega[str(i)].to(module.weight)
    if (folder / BITFIT).exists():
        _bitfit(base).load_state_dict(load_file(folder / BITFIT), strict=False)
        return base.eval()
    values = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    model = _wrapped(base, PeftConfig.from_peft_type(**{**values, "task_type": None}))
    set_peft_model_state_dict(model, load_file(folder / "adapter_model.safetensors"))
    return model.eval()


def _mean_embedding(model: nn.Module) -> torch.Tensor:
    """The mean token embedding [D], which tells checkpoints apart: no adapter trains it."""
    return next(m for m in model.modules() if isinstance(m, nn.Embedding)).weight.detach().mean(dim=0).float().cpu()


def _feature_maps(model: nn.Module) -> list[FeatureMap]:
    return [module for module in model.modules() if isinstance(module, FeatureMap)]
