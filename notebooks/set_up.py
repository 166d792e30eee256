"""Install molft from this clone where nobody has done so: the set-up cell of a notebook runs this on Colab or Kaggle.

Nothing that the runtime has already imported, or that its widgets rely on, may move. pip checks every requirement.
"""

import importlib
import subprocess
import sys
import tempfile
from importlib.metadata import distributions
from pathlib import Path

HOME = Path(__file__).resolve().parents[1]
STAY = ("torch", "numpy", "pandas", "scipy", "ipywidgets")
RDKIT = "rdkit==2026.9.1"  # another release may write other canonical SMILES


def pip(*arguments: str, otherwise: str) -> None:
    """Run pip; ``otherwise`` says what a failure means."""
    done = subprocess.run([sys.executable, "-m", "pip", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{otherwise} pip says: {done.stderr.strip()[-500:]}")


def main() -> None:
    """Twice is harmless."""
    there = {found.name: found.version for found in distributions()}
    if "torchao" in there:  # too old for peft, which then refuses to make LoRA layers
        pip("uninstall", "--quiet", "--yes", "torchao", otherwise="torchao cannot be removed.")
        print("torchao was removed: the preinstalled release does not go with peft")
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as constraints:
        constraints.write("".join(f"{name}=={there[name]}\n" for name in STAY if name in there))
        constraints.flush()
        pip(
            *("install", "--quiet", "--constraint", constraints.name, RDKIT, "--editable", str(HOME)),
            otherwise=f"molft cannot be installed beside this runtime's {', '.join(STAY)}. Run the cell again if the "
            "network failed; otherwise choose the newest runtime (Runtime > Change runtime type).",
        )
    sys.path.insert(0, str(HOME))  # this session does not know of the installation yet
    importlib.invalidate_caches()


if __name__ == "__main__":
    main()
