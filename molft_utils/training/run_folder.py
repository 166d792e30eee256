"""The folder of one run: who may write there, and from which checkpoint it goes on."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from transformers import TrainerCallback

from ..errors import CheckpointError, StaleRunError
from ..files import damaged_files, write_atomically, write_checksums
from ..inputs import changes


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Refuse a folder in which another process trains: both would write the same checkpoints.

    Raises
    ------
    CheckpointError
        If there is one; it names the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise CheckpointError(
            f"another process trains in {folder}; wait until it is done, or choose another output_dir"
        ) from error
    try:
        yield
    finally:
        lock.release()


def resume_point(folder: Path, stamp: dict) -> str | None:
    """The newest whole checkpoint of the same run, if any. Half-written and damaged ones are removed.

    Parameters
    ----------
    folder
        The run's folder, which is made if it does not exist.
    stamp
        Settings, data and initial weights of the run, as JSON; ``run.json`` in the folder keeps it.

    Raises
    ------
    StaleRunError
        If the folder holds a run with another stamp; the message names what differs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _require_same_run(folder, stamp)
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=lambda p: -int(p.name.split("-")[1])):
        try:
            _relocate_best(checkpoint)
            if not damaged_files(checkpoint):
                return str(checkpoint)
            print(f"{checkpoint} is damaged; an earlier epoch is gone on from")
        except (OSError, ValueError, TypeError, AttributeError):  # no JSON, or another one
            pass
        shutil.rmtree(checkpoint)
    return None


class Checksums(TrainerCallback):
    """Writes down the checksums of a checkpoint's weights and states once it is whole."""

    def on_save(self, args, state, control, **kwargs):
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            # The Trainer's own record is left out: it names the folder, and is written again where this was moved.
            write_checksums(folder, [*folder.glob("*.safetensors"), *folder.glob("*.pt"), *folder.glob("*.pth")])


def _require_same_run(folder: Path, stamp: dict) -> None:
    """Compare a folder's stamp with this one, or write it into a new folder."""
    record = folder / "run.json"
    if not record.exists():
        write_atomically(record, json.dumps(stamp, indent=1))
        return
    try:
        differing = changes(json.loads(record.read_text(encoding="utf-8")), json.loads(json.dumps(stamp)))
    except (OSError, ValueError, TypeError, AttributeError) as error:  # no JSON, or not an object
        differing = [f"run.json is damaged: {error}"]
    if differing:
        raise StaleRunError(
            f"{folder} holds a run with other settings or data; choose another output_dir or delete it "
            f"({'; '.join(differing)})"
        )


def _relocate_best(checkpoint: Path) -> None:
    """Let a checkpoint's state name the best checkpoint in its present folder, which may have been moved.

    Raises an OSError or a JSONDecodeError for a half-written checkpoint: the Trainer writes this file last.
    """
    path = checkpoint / "trainer_state.json"
    state = json.loads(path.read_text(encoding="utf-8"))
    if best := state.get("best_model_checkpoint"):
        present = str(checkpoint.parent / Path(best).name)
        if present != best:
            write_atomically(path, json.dumps({**state, "best_model_checkpoint": present}, indent=2))


def early_stop(checkpoint: str, patience: int) -> int | None:
    """The number of epochs after which a run stopped early, or None if its last checkpoint shows no early stop.

    The Trainer forgets the stop when it resumes, and would train one more epoch.
    """
    state = json.loads((Path(checkpoint) / "trainer_state.json").read_text(encoding="utf-8"))
    stopping = state.get("stateful_callbacks", {}).get("EarlyStoppingCallback", {})
    counted = stopping.get("attributes", {}).get("early_stopping_patience_counter", 0)
    return round(state["epoch"]) if counted >= patience else None
