"""The tokeniser: the published tokens, nothing left out in silence, and a caller's own is nobody else's."""

import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from molft_utils import CheckpointError, DataError
from molft_utils.molformer import load_tokenizer, token_lengths, tokenise, tokenization_molformer, unknown_parts

LONG = "C" * 200
CASES = json.loads((Path(__file__).parents[1] / "fixtures" / "tokenizer_cases.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_tokeniser_gives_the_published_tokens(case):
    tokenizer = load_tokenizer()
    encoded = tokenizer(case["smiles"])
    assert encoded["input_ids"] == case["ids"]
    assert tokenizer.convert_ids_to_tokens(case["ids"]) == case["tokens"]
    assert encoded["input_ids"].count(tokenizer.unk_token_id) == case["n_unk"]
    assert tokenizer.decode(case["ids"], skip_special_tokens=True) == case["decode_skip_special"]


def test_tokeniser_pads_on_the_right_with_id_two():
    batch = load_tokenizer()(["CCO", "C"], padding=True)
    assert batch["input_ids"] == [[0, 4, 4, 9, 1], [0, 4, 1, 2, 2]]
    assert batch["attention_mask"] == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    assert "token_type_ids" not in batch


def test_a_damaged_tokeniser_is_named(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is missing or damaged"):
        load_tokenizer(tmp_path)


def test_it_is_built_once_for_many_molecules(monkeypatch):
    token_lengths(["CCO"])
    monkeypatch.setattr(tokenization_molformer, "load_tokenizer", lambda: pytest.fail("built again"))
    assert [len(tokenise([smiles])[0]) for smiles in ("CCO", "CCN", "CCCCO")] == [5, 5, 7]


def test_truncation_of_one_call_does_not_reach_another():
    mine = load_tokenizer()
    assert [len(ids) for ids in tokenise([LONG, "CCO"], max_tokens=7)] == [7, 5]
    assert token_lengths([LONG]).tolist() == [202] and len(mine(LONG)["input_ids"]) == 202
    assert len(mine.tokenize(LONG)) == 200 and len(load_tokenizer()(LONG)["input_ids"]) == 202
    assert [len(ids) for ids in tokenise([LONG])] == [128]


def test_what_a_user_does_to_a_tokeniser_does_not_reach_the_package_or_other_users():
    mine = load_tokenizer()
    mine.padding_side = mine.truncation_side = "left"
    mine.add_tokens(["CCO"])
    padded = mine([LONG, "CCO"], padding=True, truncation=True, max_length=9)["input_ids"]
    assert [len(ids) for ids in padded] == [9, 9]
    assert len(tokenise(["CCO"])[0]) == token_lengths(["CCO"])[0] == 5
    assert load_tokenizer().padding_side == "right" and len(load_tokenizer()("CCO")["input_ids"]) == 5


def test_no_molecules_have_no_tokens():
    assert tokenise([]) == [] and token_lengths([]).shape == (0,)


@pytest.mark.parametrize(
    ("smiles", "unknown"),
    [
        ("CCO", []), ("", []), ("C[13CH3]", []), ("HCl", ["H"]), ("[Re]$[Re]", ["$"]), ("C%(100)C", ["%"]),
        ("CCO |$a$|", [" |$a$|"]), ("é", ["é"]), ("C\u0301C", ["\u0301"]), ("C\ud800C", ["\ud800"]),
        ("<unk>", ["<unk>"]),
    ],
)  # fmt: skip
def test_what_the_tokeniser_does_not_know_is_named_and_refused(smiles, unknown):
    assert unknown_parts([smiles, "CCO"]) == [unknown, []]
    if unknown:
        with pytest.raises(DataError, match=r"the tokeniser does not know .*; take the molecule out"):
            tokenise(["CCO", smiles], max_tokens=3)  # what is cut is read, too


TOKENS = sorted(load_tokenizer().get_vocab())


@settings(
    deadline=None, derandomize="MOLFT_FUZZ" not in os.environ, max_examples=int(os.environ.get("MOLFT_FUZZ", 100))
)
@given(st.one_of(st.text(max_size=20), st.lists(st.sampled_from(TOKENS), max_size=12).map("".join)))
def test_any_text_is_given_back_or_its_unknown_parts_are_named(text):
    tokenizer, (unknown,) = load_tokenizer(), unknown_parts([text])
    if not unknown:
        assert tokenizer.decode(tokenise([text], 10_000)[0][1:-1]) == text
    ids = tokenizer(re.sub("[\ud800-\udfff]", "\ufffd", text))["input_ids"][1:-1]
    known = tokenizer.convert_ids_to_tokens([i for i in ids if i != tokenizer.unk_token_id])
    assert sum(map(len, known)) + sum(map(len, unknown)) == len(text)
    rest = text
    for part in unknown:  # in their order
        assert part in rest
        rest = rest[rest.index(part) + len(part) :]
