"""The rules for charged molecules: on textbook molecules, and against what was measured."""

import pandas as pd
import pytest
from rdkit import Chem

import tables
from molft_utils.data import flat_key
from molft_utils.files import DATA_FOLDER
from tables import RULES, ionisable_groups

CHARGED = {
    "carboxylic acid": ["CC(=O)Oc1ccccc1C(=O)O", "CC(C)Cc1ccc(cc1)C(C)C(=O)O"],
    "sulfonic or phosphorus acid": ["Cc1ccc(cc1)S(=O)(=O)O", "OP(=O)(O)CN(C)C"],
    "nitrophenol": ["Oc1ccccc1[N+](=O)[O-]"],
    "nitrophenol, para": ["Oc1ccc(cc1)[N+](=O)[O-]"],
    "enol of a diketone": ["O=c1cc(O)c2ccccc2o1", "CC(O)=CC(C)=O"],
    "C-H between two amides": ["CCCCC1C(=O)N(c2ccccc2)N(c2ccccc2)C1=O"],
    "tetrazole": ["c1ccccc1-c1nnn[nH]1", "c1ccccc1-c1nn[nH]n1"],
    "imide": ["CCC1(c2ccccc2)C(=O)NC(=O)NC1=O", "O=C1CCC(=O)N1"],
    "N-aryl or N-acyl sulfonamide": ["Cc1cc(NS(=O)(=O)c2ccc(N)cc2)no1"],
    "aliphatic amine": ["CC(C)NCC(O)COc1cccc2ccccc12", "CN(C)CCCN1c2ccccc2CCc2ccccc21", "C1CCNCC1"],
    "amidine or guanidine": ["NC(=N)c1ccccc1", "CN(C)C(=N)NC(N)=N"],
    "4-aminopyridine": ["Nc1ccncc1", "Nc1c2CCCCc2nc2ccccc12"],
    "imidazole": ["c1c[nH]cn1", "Cn1ccnc1"],
    "quaternary nitrogen": ["C[N+](C)(C)CCO", "C[n+]1ccccc1"],
}

NEUTRAL = {
    "amide": "CC(=O)Nc1ccccc1",
    "aniline": "Nc1ccccc1",
    "phenol": "Oc1ccccc1",
    "pyridine": "c1ccncc1",
    "plain sulfonamide": "NS(=O)(=O)c1ccccc1",
    "nitro group": "O=[N+]([O-])c1ccccc1",
    "N-oxide": "[O-][n+]1ccccc1",
    "urea": "CNC(=O)NC",
    "caffeine": "Cn1c(=O)c2c(ncn2C)n(C)c1=O",
    "ester of a malonic acid": "CCOC(=O)CC(=O)OCC",
    "alcohol": "CCCCO",
}


@pytest.mark.parametrize("group", RULES)
def test_charged_molecules_are_found_by_their_group(group):
    for smiles in CHARGED[group]:
        assert group in ionisable_groups(smiles), smiles


@pytest.mark.parametrize("name", NEUTRAL)
def test_neutral_molecules_have_no_such_group(name):
    assert ionisable_groups(NEUTRAL[name]) == []


def test_every_rule_is_a_pattern_with_a_reason():
    assert set(CHARGED) == set(RULES)
    for smarts, reason in RULES.values():
        assert Chem.MolFromSmarts(smarts) is not None and len(reason) > 10


def test_logp_is_a_logd_for_neutral_molecules_and_too_high_for_charged_ones():
    """The claim on which the secondary set rests, on the molecules of which both were measured."""
    both = pd.read_csv(DATA_FOLDER / "logp_and_logd.csv")
    lipophilicity = pd.read_csv(DATA_FOLDER / "lipophilicity.csv")
    assert set(both["smiles"].map(flat_key)) <= set(lipophilicity["smiles"].map(flat_key)) and len(both) == 192
    assert [bool(ionisable_groups(s)) for s in both["smiles"]] == both["ionisable"].tolist()
    gap = (both["logp"] - both["logd"]).groupby(both["ionisable"])
    size, spread = gap.apply(lambda d: d.abs().median()), gap.apply(lambda d: (d**2).mean() ** 0.5)
    assert gap.size().to_dict() == {False: 85, True: 107}
    assert size[False] == pytest.approx(0.13, abs=0.02) and spread[False] == pytest.approx(0.45, abs=0.03)
    assert gap.median()[True] == pytest.approx(1.83, abs=0.05) and spread[True] == pytest.approx(2.07, abs=0.05)
    assert gap.apply(lambda d: (d > -0.35).mean())[True] > 0.98, "a charge lowers logD, and never raises it"


def test_the_secondary_set_is_the_draw_from_the_pool():
    pool = pd.read_csv(DATA_FOLDER / "logp.csv")
    drawn = tables.secondary(pool).reset_index(drop=True)
    pd.testing.assert_frame_equal(drawn, pd.read_csv(DATA_FOLDER / "secondary.csv"))
