"""What `make gpu` would measure, exercised on the CPU: its cases, a process, its record, its refusals."""

import json
import subprocess

import pandas as pd
import pytest
import torch

from molft_utils.evaluation import records
from molft_utils.making import costs, gpu
from molft_utils.making.gpu import Case

SMALL = dict(limit=8, influence_depth=1, epochs=1)


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    return tmp_path / "gpu.csv"


def test_all_that_was_asked_for_is_among_the_cases():
    cases = set(gpu.cases())
    assert {case.what for case in cases} == costs.UNITS.keys() and {case.size for case in cases} == {"mini", "full"}
    for size in ("mini", "full"):
        assert {case.precision for case in cases if case[:2] == (size, "fit")} == {"fp32", "fp16", "bf16"}
        assert Case(size, "ia3", "fp32") in cases and Case(size, "ia3", "fp16") not in cases


def test_a_case_is_measured_in_a_process_of_its_own():
    found = gpu.measured(Case("mini", "prediction", "fp32"), "cpu", "smoke", **SMALL)
    assert found.keys() == {"seconds", "unit", "megabytes", "batch"} and found["seconds"] > 0


def test_on_the_cpu_the_process_sees_no_gpu(monkeypatch):
    seen = []

    def run(command, env, **options):
        seen.append(env.get("CUDA_VISIBLE_DEVICES"))
        return subprocess.CompletedProcess(command, 0, json.dumps({"seconds": 1.0}), "")

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setattr(gpu.subprocess, "run", run)
    for device in ("cpu", "cuda"):
        gpu.measured(Case("mini", "fit", "fp16"), device)
    assert seen == ["", "1"]


def test_what_is_measured_goes_on_record_and_what_fails_is_named(results, monkeypatch):
    asked = []

    def measured(case, device, **amount):
        asked.append(case)
        if case.what == "kernel":
            raise RuntimeError("CUDA out of memory")
        return {"seconds": 0.5, "unit": "step", "megabytes": 100.0, "batch": 32}

    monkeypatch.setattr(gpu, "measured", measured)
    expected = ["mini, kernel, fp32: CUDA out of memory", "full, kernel, fp32: CUDA out of memory"]
    assert gpu.record_costs("A card") == expected
    rows, n_cases = pd.read_csv(results), len(asked)
    assert len(rows) == n_cases - 2 and set(rows["card"]) == {"A card"} and set(rows["megabytes"]) == {100.0}
    asked.clear()
    assert gpu.record_costs("A card") == expected and {case.what for case in asked} == {"kernel"}
    gpu.record_costs("Another card")
    assert len(pd.read_csv(results)) == 2 * (n_cases - 2)


def test_the_process_failing_is_told_with_its_last_line(monkeypatch):
    for stderr, message in (("Traceback\nCUDA out of memory\n", "^CUDA out of memory$"), ("", "it was killed")):
        done = subprocess.CompletedProcess([], 1, "", stderr)
        monkeypatch.setattr(gpu.subprocess, "run", lambda *given, done=done, **options: done)
        with pytest.raises(RuntimeError, match=message):
            gpu.measured(Case("mini", "prediction", "fp32"), "cpu")


def test_parity_is_a_row_for_each_precision(results, monkeypatch):
    parity_errors = gpu.parity_errors
    monkeypatch.setattr(gpu, "parity_errors", lambda device, precision: parity_errors("cpu", precision))
    gpu.record_parity("A card")
    errors = pd.read_csv(results).set_index("precision")["error"]
    assert errors["fp32"] < errors["fp16"] < errors["bf16"] < 0.15


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_says_so_and_measures_nothing(results, capsys):
    gpu.main()
    assert "skipped: torch finds no GPU" in capsys.readouterr().out and not results.exists()
