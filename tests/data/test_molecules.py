"""Molecules in the form that a model reads: one answer wherever token ids are made."""

import pandas as pd
import pytest

from molft_utils import DataError, finetune, load_table, predict, settings
from molft_utils.data import token_ids
from molft_utils.molformer import MolformerForSequenceClassification, smiles_list, tokenise

#: Two palladium atoms, whose canonical form has the arrow of a dative bond, which the tokeniser does not know.
DATIVE = "F[Pd](Cl)(Cl1)Cl[Pd]1(Cl)Cl"


def test_ids_are_of_the_form_that_is_used():
    assert token_ids(["OCC", " C "], canonical=False) == tokenise(["OCC", "C"])
    assert token_ids(["OCC"], canonical=True) == tokenise(["CCO"]) != tokenise(["OCC"])
    assert token_ids(["C" * 50], canonical=True, max_tokens=7) == tokenise(["C" * 50], 7)
    assert len(token_ids([DATIVE], canonical=False)[0]) == 18
    with pytest.raises(DataError, match=r"does not know '<' in '.*<-"):
        token_ids([DATIVE], canonical=True)


@pytest.mark.parametrize(
    ("smiles", "message"),
    [
        ("aspirin", "RDKit cannot read the SMILES 'aspirin'; correct it"),
        ("C" * 6_000, r"cannot read .*\(6,002 characters\)"),
        ("[Re]$[Re]", r"does not know '\$'"),
        ("C%(100)CC%(100)", "does not know '%'"),
        ("CCO ethanol", "does not know ' etha'"),
    ],
    ids=lambda text: text[:10],
)
@pytest.mark.parametrize("canonical", [True, False])
def test_what_no_model_can_read_whole_is_refused_in_either_form(smiles, message, canonical):
    with pytest.raises(DataError, match=message):
        token_ids(["CCO", smiles], canonical)


@pytest.mark.parametrize("smiles", [DATIVE, "aspirin"])
def test_a_table_training_and_prediction_give_the_same_answer(tiny, tmp_path, smiles):
    good = ["CCO", "CCN", "CCC", "CCCC"]
    table = pd.DataFrame({"smiles": [*good, smiles], "label": range(5)})
    table.to_csv(tmp_path / "mine.csv", index=False)
    with pytest.raises(DataError, match="line 6 has a SMILES"):
        load_table(tmp_path / "mine.csv")
    model = MolformerForSequenceClassification(tiny)
    with pytest.raises(DataError):
        finetune(model, table, None, settings("smoke"), tmp_path / "run")
    tiny.canonical_smiles = True
    with pytest.raises(DataError):
        predict(model.eval(), [smiles])


@pytest.mark.parametrize("read", [smiles_list, tokenise, lambda smiles: token_ids(smiles, canonical=True)])
def test_what_is_no_list_of_texts_is_refused(read):
    with pytest.raises(DataError, match="'CCO' is one text, not a list of SMILES"):
        read("CCO")
    with pytest.raises(DataError, match="number 1, counted from 0, is None and no text"):
        read(["CCO", None])
    for table in (pd.DataFrame({"C": ["CCO"], "N": ["CC"]}), {"C": 1}):
        with pytest.raises(DataError, match=r"a table is no list of SMILES; give its column, table\['smiles'\]"):
            read(table)
    assert read(pd.Series(["CCO"], index=[7])) and read([]) == []
