"""Ctrl-C in a cell: the kernel stays usable, and the cell run again goes on where it was."""

import pandas as pd
import pytest

from molft_utils.files import data_file

#: In the first run the third epoch takes long.
SETUP = """
import time
from molft_utils import settings
from molft_utils.experiments import pipeline
from molft_utils.training import trainer

class Telling(trainer.Progress):
    slow = True

    def on_evaluate(self, args, state, control, metrics, **kwargs):
        print("epoch", round(state.epoch), flush=True)
        if round(state.epoch) == 3 and Telling.slow:
            Telling.slow = False
            time.sleep(600)

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
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def run(client, code, on_text=lambda text: None) -> tuple[str, str]:
    """What a cell prints, and the name of the error with which it ends; ``on_text`` gets what it prints meanwhile."""
    printed, errors = [], []

    def hook(message):
        content = message["content"]
        if message["msg_type"] == "stream" and content["name"] == "stdout":
            printed.append(content["text"])
            on_text("".join(printed))
        elif message["msg_type"] == "error":
            errors.append(content["ename"])

    client.execute_interactive(code, output_hook=hook, timeout=600)
    return "".join(printed), "".join(errors)


def test_an_interrupted_fit_leaves_the_kernel_usable_and_is_gone_on_with(kernel):
    manager, client = kernel
    assert run(client, SETUP)[1] == ""
    struck = []

    def interrupt(text):
        if "epoch 3" in text and not struck:
            struck.append(text)
            manager.interrupt_kernel()

    printed, error = run(client, FIT, interrupt)
    assert error == "KeyboardInterrupt" and printed.split("\n") == ["epoch 1", "epoch 2", "epoch 3", ""]
    assert run(client, "print(1 + 1)") == ("2\n", "")
    assert run(client, FIT) == ("epoch 3\nepoch 4\n4 in all\n", "")
