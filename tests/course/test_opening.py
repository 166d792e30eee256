"""The first line of a notebook, and what its set-up cell installs."""

import os
import re
import runpy
import sys
import types

import nbformat
import pytest

from molft_utils import DataError, SettingsError, start
from molft_utils.files import ROOT
from notebooks import set_up_cell


def test_the_profile_of_the_environment_comes_first(monkeypatch, capsys):
    monkeypatch.setenv("MOLFT_PROFILE", "smoke")
    assert start("class").profile == "smoke"
    monkeypatch.delenv("MOLFT_PROFILE")
    assert start("class", epochs=7).epochs == 7 and start("class").profile == "class"
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("profile smoke") and "torch" in first and "Python" in first


def test_a_table_that_cannot_be_used_is_refused_at_the_start(tmp_path):
    with pytest.raises(DataError, match=r"mine\.csv does not exist in the folder"):
        start("smoke", table=tmp_path / "mine.csv", target="logS")
    (tmp_path / "mine.csv").write_text("smiles,logS\nCCO,1\nC(C,2\n")
    with pytest.raises(DataError, match="line 3"):
        start("smoke", table=tmp_path / "mine.csv", target="logS")


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


def test_without_a_network_the_set_up_cell_says_so(tmp_path, monkeypatch):
    cell = set_up_cell(nbformat.read(ROOT / "notebooks" / "01_split.ipynb", as_version=4)).source
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)  # as on a machine without molft
    with pytest.raises(RuntimeError, match=r"cannot be fetched\. Is there a network\?"):
        exec(re.sub(r'"https://github.com/[^"]+"', '"file:///nowhere"', cell), {})
    pip = runpy.run_path(str(ROOT / "notebooks" / "set_up.py"))["pip"]
    with pytest.raises(RuntimeError, match=r"molft cannot be installed\. pip says: .+"):
        pip("download", "--no-index", "not-a-package", otherwise="molft cannot be installed.")


def test_colab_gets_the_rdkit_that_wrote_the_tables():
    pin = (ROOT / "notebooks" / "set_up.py").read_text(encoding="utf-8").split('RDKIT = "')[1].split('"')[0]
    for constraints in ("constraints.txt", "constraints-colab.txt"):
        assert pin in (ROOT / constraints).read_text(encoding="utf-8").split()
