"""Where files lie, and that a file is written whole or not at all."""

import hashlib

import pytest

from molft_utils import files
from molft_utils.errors import DataError
from molft_utils.files import data_file, figures_folder, file_hash, stages_folder, write_atomically


@pytest.mark.parametrize(
    ("folder", "variable", "name"),
    [(stages_folder, "MOLFT_STAGES", "stages"), (figures_folder, "MOLFT_FIGURES", "figures")],
)
def test_folders_follow_the_environment_at_every_call(folder, variable, name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for value, expected in (
        ("elsewhere", tmp_path / "elsewhere"),
        ("~/elsewhere", tmp_path / "elsewhere"),
        ("", files.ROOT / "runs" / name),
    ):
        monkeypatch.setenv(variable, value)
        assert folder() == expected
    monkeypatch.delenv(variable)
    assert folder() == files.ROOT / "runs" / name


def test_a_missing_data_file_is_named_with_its_remedy():
    assert data_file("lipophilicity.csv") == files.ROOT / "data" / "lipophilicity.csv"
    with pytest.raises(DataError, match=r"x\.csv does not exist; .*git checkout data/x\.csv"):
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
