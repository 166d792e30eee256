"""Where files lie, and that a file is written whole or not at all."""

import hashlib
from pathlib import Path

import pytest

from molft_utils import files
from molft_utils.errors import DataError
from molft_utils.files import data_file, figures_folder, file_hash, stages_folder, write_atomically


@pytest.mark.parametrize(
    ("folder", "variable", "name"),
    [(stages_folder, "MOLFT_STAGES", "stages"), (figures_folder, "MOLFT_FIGURES", "figures")],
)
def test_folders_follow_the_environment_at_every_call(folder, variable, name, monkeypatch):
    monkeypatch.delenv(variable, raising=False)
    assert folder() == files.ROOT / "runs" / name
    monkeypatch.setenv(variable, "elsewhere")
    assert folder() == Path("elsewhere")
    monkeypatch.setenv(variable, "")
    assert folder() == files.ROOT / "runs" / name


def test_a_checkout_is_told_by_its_own_files(tmp_path):
    assert files.IN_CHECKOUT and data_file("lipophilicity.csv") == files.ROOT / "data" / "lipophilicity.csv"
    (tmp_path / "data").mkdir()
    assert not files._is_checkout(tmp_path), "site-packages may hold somebody else's data folder"


@pytest.mark.parametrize(("in_checkout", "remedy"), [(True, "git checkout data/x.csv"), (False, "install the wheel")])
def test_a_missing_data_file_is_named_with_its_remedy(in_checkout, remedy, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROOT", tmp_path)
    monkeypatch.setattr(files, "DATA_FOLDER", tmp_path / "data")
    monkeypatch.setattr(files, "IN_CHECKOUT", in_checkout)
    with pytest.raises(DataError, match=rf"x\.csv does not exist; .*{remedy}"):
        data_file("x.csv")


@pytest.mark.parametrize("content", ["logD é\n", b"\x89PNG\r\n\x00"])
def test_text_and_bytes_are_written_as_they_are(content, tmp_path):
    path = tmp_path / "new" / "file"
    write_atomically(path, "old")
    write_atomically(path, content)
    expected = content.encode() if isinstance(content, str) else content
    assert path.read_bytes() == expected and file_hash(path) == hashlib.sha256(expected).hexdigest()
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, "old")

    def full_disk(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(files.os, "replace", full_disk)
    with pytest.raises(OSError, match="no space"):
        write_atomically(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
