"""Environments of their own: ``nox --list``; for instance ``nox --session "tests-3.13(highest)"``."""

import nox

nox.options.default_venv_backend = "uv"  # it resolves to the oldest releases as well
nox.options.sessions = ["tests"]

PEERS = "tests/benchmarks/peers"
COMPARISONS = (
    "bank", "projections", "lissa", "on_drops", "solvers", "scoring", "shapley", "training", "growth",
)  # fmt: skip


@nox.session(python=["3.11", "3.12", "3.13", "3.14"])
@nox.parametrize("resolution", ["highest", "lowest-direct"], ids=["highest", "lowest-direct"])
def tests(session: nox.Session, resolution: str) -> None:
    """The tests with the newest or the oldest releases that pyproject.toml admits."""
    if resolution == "lowest-direct" and session.python == "3.14":
        session.skip("the oldest releases have no wheels for Python 3.14")
    session.install("--resolution", resolution, "--editable", ".[dev]")
    session.run("pytest", *session.posargs, env={"OMP_NUM_THREADS": "1"})


@nox.session(python="3.11", venv_backend="venv", reuse_venv=True)
def peers(session: nox.Session) -> None:
    """Compare with other libraries, into ``data/results/peers.csv``; arguments choose comparisons."""
    session.install("torch==2.13.0")  # by itself, as a CPU build where the index has one
    session.install("--requirement", f"{PEERS}/requirements.txt")
    # Libraries ask for these two without importing them; transformers would, and fails with a CPU build of torch.
    session.run("pip", "uninstall", "--yes", "torchvision", "torchaudio")
    for name in session.posargs or COMPARISONS:
        session.run("python", f"{PEERS}/{name}.py", env={"OMP_NUM_THREADS": "1", "PYTHONPATH": ".:data/scripts"})


@nox.session(python="3.13", venv_backend="venv", reuse_venv=True)
def rehearsal(session: nox.Session) -> None:
    """The notebooks as Google Colab runs them: its versions, without RDKit, with a torchao that peft refuses."""
    session.install("--requirement", "constraints-colab.txt", "torchao==0.10.0")
    session.run("python", "tests/rehearsals/colab.py", env={"OMP_NUM_THREADS": "1", "PYTHONPATH": "."})
