"""The first line of a notebook, and what its set-up cell installs."""

import os
import sys
import types

import pytest

from molft_utils import SettingsError, start
from molft_utils.files import ROOT


def test_the_profile_of_the_environment_comes_first(monkeypatch, capsys):
    monkeypatch.setenv("MOLFT_PROFILE", "smoke")
    assert start("class").profile == "smoke"
    monkeypatch.delenv("MOLFT_PROFILE")
    assert start("class").profile == "class"
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("profile smoke") and "torch" in first and "Python" in first


def test_results_go_to_drive_only_while_that_is_switched_on(monkeypatch):
    monkeypatch.delenv("MOLFT_STAGES", raising=False)
    mounted = []
    colab = types.SimpleNamespace(drive=types.SimpleNamespace(mount=mounted.append))
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    start("smoke", keep_in_drive=True)
    assert os.environ["MOLFT_STAGES"].startswith(mounted[0])
    start("smoke")
    assert "MOLFT_STAGES" not in os.environ
    monkeypatch.setitem(sys.modules, "google.colab", None)
    with pytest.raises(SettingsError, match="KEEP_IN_DRIVE"):
        start("smoke", keep_in_drive=True)


def test_colab_gets_the_rdkit_that_wrote_the_tables():
    pin = (ROOT / "notebooks" / "set_up.py").read_text(encoding="utf-8").split('RDKIT = "')[1].split('"')[0]
    for constraints in ("constraints.txt", "constraints-colab.txt"):
        assert pin in (ROOT / constraints).read_text(encoding="utf-8").split()
