"""The published model's size without the hub: ``make hub``.

A server on this machine stands in for huggingface.co (``HF_ENDPOINT``) and holds a full-size MoLFormer with random
weights in the published layout: 212 tensors, 187,248,784 bytes. Loading, a wrong revision, a broken download and an
offline cache are tried against it; then each kind of training runs for a few steps in the profiles best and report, and
its time and memory go to ``data/results/published_size.csv``. The weights are random: the errors mean nothing, the
costs are those of the published model.
"""

import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import save_file

from ..evaluation import records, report_table4
from ..experiments import commit, inputs_of
from ..files import DATA_FOLDER, RUNS_FOLDER
from ..molformer import XL, XL_REVISION, MolformerConfig, MolformerForMaskedLM
from ..profiles import EVERY_METHOD, Settings, settings

FOLDER = RUNS_FOLDER / "hub"

#: Bytes of the published ``model.safetensors``.
PUBLISHED_BYTES = 187_248_784


def make_files(folder: Path = FOLDER / "files") -> Path:
    """Write config.json, tokenizer.json and random weights as the published repository lays them out; made once."""
    if (folder / "model.safetensors").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    config = MolformerConfig()
    config.architectures = ["MolformerForMaskedLM"]
    config.save_pretrained(folder)
    shutil.copy(DATA_FOLDER / "molformer-mini" / "tokenizer.json", folder)
    state = {name: tensor.contiguous() for name, tensor in MolformerForMaskedLM(config).state_dict().items()}
    save_file(state, folder / "part.safetensors", metadata={"format": "pt"})
    (folder / "part.safetensors").rename(folder / "model.safetensors")
    return folder


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers HEAD and GET of ``/<owner>/<name>/resolve/<revision>/<file>`` as the hub does."""

    protocol_version = "HTTP/1.1"
    folder: Path
    broken: bool = False

    def do_HEAD(self) -> None:
        """Headers alone."""
        self._answer(with_body=False)

    def do_GET(self) -> None:
        """Headers and the file; a broken server stops in the middle of the weights."""
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        parts = self.path.lstrip("/").split("?")[0].split("/")
        if len(parts) != 5 or parts[2] != "resolve" or "/".join(parts[:2]) != XL:
            return self._refuse("RepoNotFound")
        if parts[3] != XL_REVISION:
            return self._refuse("RevisionNotFound")
        path = self.folder / parts[4]
        if not path.exists():
            return self._refuse("EntryNotFound")
        body = path.read_bytes()
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", XL_REVISION)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        if with_body and self.broken and len(body) > 1_000_000:
            self.wfile.write(body[start : len(body) // 3])  # and no attempt to resume gets further
            self.close_connection = True
        elif with_body:
            self.wfile.write(body[start:])

    def _refuse(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def serve(folder: Path, broken: bool = False) -> Iterator[str]:
    """A server of the folder on this machine while the context lasts; its address."""
    handler = type("Bound", (Handler,), {"folder": folder, "broken": broken})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def in_a_process(code: str, endpoint: str, cache: Path, **variables: str) -> subprocess.CompletedProcess:
    """Run Python code in a process of its own, whose hub is ``endpoint`` and whose cache is ``cache``."""
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(cache), **variables}
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if name not in variables:
            environment.pop(name, None)
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)


LOAD = "import molft_utils as molft; print(sum(p.numel() for p in molft.load_model('xl', task={task!r}).parameters()))"


def rehearse() -> None:
    """Load from the stand-in: whole, offline, with a wrong revision, with a download that breaks off."""
    files, cache = make_files(), FOLDER / "cache"
    size = (files / "model.safetensors").stat().st_size
    print(f"model.safetensors: {size:,} bytes, published {PUBLISHED_BYTES:,}")
    shutil.rmtree(cache, ignore_errors=True)
    with serve(files, broken=True) as endpoint:
        _expect(in_a_process(LOAD.format(task="mlm"), endpoint, cache), False, "a download that breaks off")
    with serve(files) as endpoint:
        for task in ("mlm", "regression", "encoder"):
            _expect(in_a_process(LOAD.format(task=task), endpoint, cache), True, f"load_model('xl', {task!r})")
        other = "import molft_utils.molformer.checkpoints as c; c.XL_REVISION = 'f' * 40; c.load_model('xl')"
        _expect(in_a_process(other, endpoint, cache), False, "a wrong revision")
    nowhere = "http://127.0.0.1:9"
    _expect(in_a_process(LOAD.format(task="mlm"), nowhere, cache, HF_HUB_OFFLINE="1"), True, "offline, from the cache")
    _expect(
        in_a_process(LOAD.format(task="mlm"), nowhere, FOLDER / "empty", HF_HUB_OFFLINE="1"), False, "offline, no cache"
    )


def _expect(done: subprocess.CompletedProcess, works: bool, what: str) -> None:
    """Print what came of a trial, and stop if it is not what should have come.

    Raises
    ------
    SystemExit
        With the process's output.
    """
    last = (done.stdout if works else done.stderr).strip().splitlines()
    if (done.returncode == 0) != works:
        raise SystemExit(f"{what}: {done.stdout[-500:]}{done.stderr[-1500:]}")
    noise = [
        line for line in done.stderr.splitlines() if "UNEXPECTED" in line or "MISSING" in line or "Warning" in line
    ]
    if works and noise:
        raise SystemExit(f"{what} reports what is as it should be: {noise[:3]}")
    print(f"{what}: {last[-1][:200] if last else ''}")


#: What is measured.
MEASURED = ("prediction", "mlm", "lissa", *EVERY_METHOD)


def measure() -> None:
    """Seconds and peak memory of each kind of training at full size, in a process each, into a table of record."""
    cache = FOLDER / "cache"
    for profile in ("best", "report"):
        for what in MEASURED:
            key, inputs = {"profile": profile, "what": what}, inputs_of(settings(profile))
            if records.is_recorded("published_size", key, inputs):
                continue
            changes = dict(limit=32, precision="fp32")
            code = f"from molft_utils.making import costs; costs.print_cost({what!r}, {profile!r}, **{changes!r})"
            done = in_a_process(code, "http://127.0.0.1:9", cache, HF_HUB_OFFLINE="1")
            if done.returncode:
                raise SystemExit(f"{profile}, {what}: {done.stderr[-1500:]}")
            row = json.loads(done.stdout.strip().splitlines()[-1])
            records.add("published_size", key, {**row, "commit": commit()}, inputs)


def estimate() -> pd.DataFrame:
    """Minutes on a T4 of the parts of each profile: an estimate, as none was run there.

    The seconds on record are scaled by one factor, which takes the profile ``report``'s full fine-tuning to the 29
    minutes that the report gives for it (its Table 4, a T4).
    """
    rows = records.read("published_size")
    settings_of = {profile: settings(profile) for profile in rows["profile"].unique()}
    times = [_times(settings_of[row.profile], row.what) for row in rows.itertuples()]
    table = rows.assign(times=times, minutes=rows["seconds"] * times / 60).set_index(["profile", "what"])
    factor = report_table4()["full"] / table.loc[("report", "full"), "minutes"]
    return table.assign(t4_minutes=table["minutes"] * factor)[["unit", "times", "minutes", "t4_minutes"]]


def _times(cfg: Settings, what: str) -> int:
    """How often a profile does what was measured: training steps, products, molecules of the test split."""
    n_train, n_rest, n_test = 3024, 336, 840
    if what in EVERY_METHOD:
        return cfg.regression.epochs * -(-n_train // cfg.regression.batch_size)
    mlm_steps = cfg.mlm.epochs * -(-(n_train + n_rest) // cfg.mlm.batch_size)
    return {"mlm": mlm_steps, "lissa": cfg.influence.depth, "prediction": n_test}[what]


def main() -> None:
    """Rehearse, measure, estimate."""
    rehearse()
    measure()
    print(estimate().round(1).to_string())


if __name__ == "__main__":
    main()
