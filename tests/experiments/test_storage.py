"""Results on a disk that is full or read-only, and results that were damaged: named, and nothing finished is lost."""

import multiprocessing
import resource

import pytest

from molft_utils import CheckpointError, StorageError, load_model
from molft_utils.experiments import stages
from molft_utils.experiments.stages import Kind, in_folder, run_stage
from molft_utils.files import damaged_files, write_atomically, write_checksums
from molft_utils.molformer import MolformerForMaskedLM

ANSWER = Kind("answer", 1)


def answer(folder, size=10, key="a"):
    """A stage that writes a file of so many bytes."""

    def compute(partial, given):
        write_atomically(partial / "value.txt", "4" * size)
        return {"size": size}

    with in_folder(folder):
        return run_stage(ANSWER, None, {"key": key, "size": size}, compute)


def test_a_full_disk_is_named_and_what_was_finished_stays(disk):
    first = answer(disk.folder / "stages")
    with pytest.raises(StorageError, match=r"cannot be written: No space left on device. Free some space there"):
        answer(disk.folder / "stages", size=900_000)
    assert answer(disk.folder / "stages").reused and first.record["size"] == 10
    assert disk.mount("remount,size=9m")
    assert not answer(disk.folder / "stages", size=900_000).reused


def test_a_limit_on_the_size_of_files_is_named(tmp_path):
    """What a full disk does, where none can be mounted."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(StorageError, match="cannot be written: File too large"):
            answer(tmp_path, size=900_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.glob("answer-*/*")] == [], "no part of the file is left"
    assert not answer(tmp_path, size=900_000).reused


def test_on_a_read_only_disk_results_are_read_and_no_new_one_is_made(disk):
    answer(disk.folder)
    assert disk.mount("remount,ro")
    assert answer(disk.folder).reused
    with pytest.raises(StorageError, match=r"Read-only file system.*MOLFT_STAGES name another folder"):
        answer(disk.folder, key="b")


@pytest.mark.parametrize("place", ["file", "file/stages"])
def test_a_file_in_place_of_the_folder_is_named(tmp_path, place):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match=r"cannot be written: (File exists|Not a directory).*MOLFT_STAGES"):
        answer(tmp_path / place)


def test_a_fault_of_the_work_itself_is_not_taken_for_one_of_the_disk(tmp_path):
    def missing(folder, given):
        (folder / "nowhere").read_text()

    with in_folder(tmp_path), pytest.raises(FileNotFoundError):
        run_stage(ANSWER, None, {}, missing)


@pytest.mark.parametrize("name", ["record.json", "value.txt", "SHA256SUMS"])
def test_a_damaged_result_is_made_again(tmp_path, name, damage, capsys):
    damage(answer(tmp_path).folder / name)
    again = answer(tmp_path)
    if not (name == "SHA256SUMS" and again.reused):  # without checksums a result is taken as it is
        assert not again.reused and f"the result {again.folder.name} is damaged" in capsys.readouterr().out
    assert (again.folder / "value.txt").read_text() == "4" * 10 and answer(tmp_path).reused


def test_a_result_without_checksums_is_taken_as_it_is(tmp_path):
    (answer(tmp_path).folder / "SHA256SUMS").unlink()
    assert answer(tmp_path).reused


def test_a_damaged_record_of_another_run_does_not_stop_this_one(tmp_path):
    (answer(tmp_path).folder / "record.json").write_text("[]")
    assert not answer(tmp_path, key="b").reused


def test_checksums_are_those_of_sha256sum(tmp_path):
    (tmp_path / "a").write_text("")
    write_checksums(tmp_path)
    assert (tmp_path / "SHA256SUMS").read_text() == (
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  a\n"
    )
    (tmp_path / "a").write_text("b")
    assert damaged_files(tmp_path) == ["a"]


def test_the_weights_of_a_damaged_stage_are_never_loaded(tmp_path, tiny):
    """A weight with one bit flipped could be loaded, and would be another model."""

    def train(partial, given):
        MolformerForMaskedLM(tiny).save_pretrained(partial)
        return {}

    with in_folder(tmp_path):
        weights = run_stage(ANSWER, None, {}, train).folder / "model.safetensors"
        whole = weights.read_bytes()
        weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(CheckpointError, match=r"is damaged: model\.safetensors is not as it was written"):
            load_model(weights.parent, task="mlm")
        assert not run_stage(ANSWER, None, {}, train).reused
    load_model(weights.parent, task="mlm")


def hold(folder, locked, done):
    with in_folder(folder):
        run_stage(ANSWER, None, {"key": "a", "size": 10}, lambda *_: locked.set() or {"in time": done.wait(60)})


def test_a_second_kernel_says_that_it_waits(tmp_path, capsys, monkeypatch):
    context = multiprocessing.get_context("fork")
    locked, done = context.Event(), context.Event()
    process = context.Process(target=hold, args=(tmp_path, locked, done))
    process.start()
    assert locked.wait(60)
    monkeypatch.setattr(stages, "print", lambda *words, **_: (print(*words), done.set()), raising=False)
    assert answer(tmp_path).reused
    process.join(60)
    assert "another process computes it; waiting for the result" in capsys.readouterr().out
