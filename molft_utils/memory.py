"""Peak memory of a piece of work."""

import threading

import psutil
import torch


class PeakMemory:
    """Context manager: ``megabytes`` is the GPU's peak allocation, or without one the peak of resident memory."""

    def __init__(self, interval: float = 0.1):
        self.interval, self.megabytes = interval, 0.0
        self._done = threading.Event()

    def __enter__(self) -> "PeakMemory":
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()
        if torch.cuda.is_available():
            self.megabytes = torch.cuda.max_memory_allocated() / 2**20

    def _watch(self) -> None:
        process = psutil.Process()
        while True:
            self.megabytes = max(self.megabytes, process.memory_info().rss / 2**20)
            if self._done.wait(self.interval):
                return
