"""Ctrl-C in a cell: the kernel stays usable, and the cell run again goes on where it was."""

import pandas as pd
import pytest

from molft_utils.files import data_file

#: In the first run the signal of Ctrl-C comes after the third epoch. The kernel sends it to itself, at a known moment: one
#: from outside may meet it in the middle of printing.
SETUP = """
import signal
from molft_utils import settings
from molft_utils.experiments import pipeline
from molft_utils.training import trainer

class Telling(trainer.Progress):
    first = True

    def on_evaluate(self, args, state, control, metrics, **kwargs):
        print("epoch", round(state.epoch), flush=True)
        if round(state.epoch) == 3 and Telling.first:
            Telling.first = False
            signal.raise_signal(signal.SIGINT)

trainer.Progress = Telling
cfg = settings("smoke", table="few.csv", limit=24, epochs=4)
"""
FIT = "print(len(pipeline.baseline(cfg).history), 'in all')"


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    manager_module = pytest.importorskip("jupyter_client.manager")
    monkeypatch.setenv("MOLFT_STAGES", str(tmp_path / "stages"))
    pd.read_csv(data_file("logp.csv"))[["smiles", "label"]].head(60).to_csv(tmp_path / "few.csv", index=False)
    manager, client = manager_module.start_new_kernel(kernel_name="python3", cwd=str(tmp_path))
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def run(client, code) -> tuple[str, str]:
    """What a cell prints, and the name of the error with which it ends."""
    printed, errors = [], []

    def hook(message):
        content = message["content"]
        if message["msg_type"] == "stream" and content["name"] == "stdout":
            printed.append(content["text"])
        elif message["msg_type"] == "error":
            errors.append(content["ename"])

    # With stop_on_error, an old kernel may pass over what is asked next, as if it had been queued already.
    client.execute_interactive(code, output_hook=hook, stop_on_error=False, timeout=600)
    return "".join(printed), "".join(errors)


def test_an_interrupted_fit_leaves_the_kernel_usable_and_is_gone_on_with(kernel):
    assert run(kernel, SETUP)[1] == ""
    printed, error = run(kernel, FIT)
    assert error == "KeyboardInterrupt" and printed.split("\n") == ["epoch 1", "epoch 2", "epoch 3", ""]
    assert run(kernel, "print(1 + 1)") == ("2\n", "")
    assert run(kernel, FIT) == ("epoch 3\nepoch 4\n4 in all\n", "")
