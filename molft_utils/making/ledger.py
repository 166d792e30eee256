"""What long work has finished, seen from outside: nothing of it may be lost, and nothing be computed twice."""

import contextlib
import json
import re
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file


class Ledger:
    """What was seen finished in a folder: each thing with the times at which it was written."""

    def __init__(self, folder: Path):
        self.folder, self.written = folder, {}  # type: tuple[Path, dict[str, set[int]]]

    def look(self) -> None:
        """Write down what is finished now."""
        for path in self._finished():
            unfinished = path.name == "record.json" and path.parent.suffix == ".partial"
            with contextlib.suppress(OSError, ValueError):  # half written, or removed meanwhile
                json.loads(path.read_text(encoding="utf-8"))
                if not unfinished:
                    name = str(path.relative_to(self.folder)).replace(".partial", "")
                    self.written.setdefault(name, set()).add(path.stat().st_mtime_ns)

    def _finished(self) -> list[Path]:
        """Records of results and of epochs; none if a folder vanishes while this is looked for."""
        try:
            return [*self.folder.glob("*/record.json"), *self.folder.glob("**/checkpoint-*/trainer_state.json")]
        except OSError:
            return []

    def twice(self) -> int:
        """How often something finished was computed once more."""
        lines = re.findall(r"subset \d+, seed \d+", self._log())
        return sum(len(times) - 1 for times in self.written.values()) + len(lines) - len(set(lines))

    def lost(self) -> int:
        """How many finished things are gone: results, the last epoch of an unfinished training, models of a bank."""
        results = [name for name in self.written if name.endswith("record.json")]
        gone = sum(not (self.folder / name).exists() for name in results)
        models = len(set(re.findall(r"subset \d+, seed \d+", self._log())))
        return gone + self._epochs_lost() + max(0, models - self._models())

    def __len__(self) -> int:
        return len(self.written) + self._models()

    def _epochs_lost(self) -> int:
        newest: dict[Path, int] = {}
        for name in self.written:
            if name.endswith("trainer_state.json"):
                place, number = Path(name).parent.parent, int(Path(name).parent.name.split("-")[1])
                newest[place] = max(number, newest.get(place, 0))
        return sum(not self._is_kept(place, number) for place, number in newest.items())

    def _is_kept(self, training: Path, number: int) -> bool:
        """Whether the checkpoint is there, or a later one, or the result that it has become a part of."""
        stage = self.folder / training.parent
        if training.name == "training" and (stage / "record.json").exists():
            return True
        places = self.folder / training, stage.with_name(f"{stage.name}.partial") / training.name
        found = [path for place in places for path in place.glob("checkpoint-*/trainer_state.json")]
        return any(int(path.parent.name.split("-")[1]) >= number for path in found)

    def _models(self) -> int:
        path = self.folder / "bank.safetensors"
        return int(np.isfinite(load_file(path)["test_predictions"]).all(axis=2).sum()) if path.exists() else 0

    def _log(self) -> str:
        path = self.folder / "log.txt"
        return path.read_text(encoding="utf-8") if path.exists() else ""
