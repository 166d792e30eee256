"""`make bench`: an epoch of training by each method against full fine-tuning, in one run, on the same batches."""

import time

import torch
from transformers import DataCollatorWithPadding

from molft_utils import load_lipophilicity, load_model, load_tokenizer, settings, split
from molft_utils.peft_methods import apply_method
from molft_utils.predict import length_batches, tokenise
from molft_utils.settings import METHODS
from molft_utils.tables import canonicalise


def test_parameter_efficient_epochs_take_at_most_85_per_cent():
    table = split(load_lipophilicity()).train.head(320)
    ids = tokenise([canonicalise(s) for s in table["smiles"]])
    labels, collate = table["label"].to_numpy(), DataCollatorWithPadding(load_tokenizer())
    batches = [collate([{"input_ids": ids[i], "labels": labels[i]} for i in b]) for b in length_batches(ids, 32)]
    cases = {**{method: (method, {}) for method in METHODS}, "lora, no dropout": ("lora", {"lora_dropout": 0.0})}
    steps = {}
    for case, (method, change) in cases.items():
        model = apply_method(load_model("mini"), method, settings("class", **change)).train()
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, fused=True)
        steps[case] = (model, optimizer)

    def epoch(model, optimizer) -> float:
        began = time.perf_counter()
        for batch in batches:
            model(**batch).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        return time.perf_counter() - began

    runs = {case: [] for case in cases}
    for _ in range(5):  # the methods take turns, so that a slower moment of the machine hits all of them
        for case in cases:
            runs[case].append(epoch(*steps[case]))
    best = {case: min(times[1:]) for case, times in runs.items()}
    for case in cases:
        print(f"\n{case:16} {best[case]:.2f} s, {best[case] / best['full']:.2f} of full fine-tuning", end="")
    print()
    # LoRA with its dropout misses 0.85 on a CPU: drawing random numbers for two inputs a layer is what it pays for.
    assert all(best[case] <= 0.85 * best["full"] for case in ("bitfit", "ia3", "lora, no dropout"))
