"""Malformed tables, made systematically: every kind of fault in every place where it can stand.

Each is a file's bytes with the number of rows that a reader would count in it, and the line that an error must name.
"""

import codecs
from collections.abc import Iterator
from typing import NamedTuple

ROWS = [("CCO", "1.5"), ("c1ccccc1", "-0.3"), ("CC(=O)O", "2e-1")]

#: The line of the row in which a fault of one cell stands.
FAULTY = 3


class Case(NamedTuple):
    """A file: the ``rows`` that it must give if it is read, and the ``line`` that the error must name if it is not."""

    content: bytes
    rows: int = len(ROWS)
    line: int | None = None


def text(rows=ROWS, header="smiles,label", separator=",", end="\n", quote="") -> str:
    """A CSV."""
    lines = [header, *(separator.join(f"{quote}{field}{quote}" for field in row) for row in rows)]
    return end.join(lines) + end


def with_cell(column: int, value: str) -> bytes:
    """A good table but for one cell, in quotes, on line ``FAULTY``."""
    rows = [list(row) for row in ROWS]
    rows[FAULTY - 2][column] = value.replace('"', '""')
    return text(rows, quote='"').encode("utf-8")


ENCODINGS = "utf-8 utf-8-sig utf-16 utf-16-le utf-16-be utf-32 utf-7 latin-1 cp1252 cp437 cp037 mac-roman"
MAGIC = {"zip": b"PK\x03\x04", "gzip": b"\x1f\x8b\x08", "parquet": b"PAR1\x15\xff", "xls": b"\xd0\xcf\x11\xe0"}


def encodings() -> Iterator[tuple[str, Case]]:
    for coding in ENCODINGS.split():
        yield f"{coding}, plain", Case(text().encode(coding))
        named = text([(*row, name) for row, name in zip(ROWS, ("éthanol", "benzène", "acide"), strict=True)])
        yield f"{coding}, accents", Case(named.replace("label", "label,name").encode(coding))
    for coding, name in (("shift_jis", "エタノール"), ("gb18030", "乙醇"), ("koi8-r", "этанол"), ("utf-8", "乙醇")):
        rows = [(*row, name) for row in ROWS]
        yield f"{coding}, names", Case(text(rows, "smiles,label,name").encode(coding))


def marks() -> Iterator[tuple[str, Case]]:
    bom, good = codecs.BOM_UTF8, text().encode()
    yield "two marks of byte order", Case(bom + bom + good)
    yield "a mark of byte order in a cell", Case(good.replace(b"c1cc", bom + b"c1cc"), line=FAULTY)
    yield "a mark of byte order at the end", Case(good + bom, rows=4)
    yield "a mark of byte order alone", Case(bom, rows=0)
    yield "a mark of UTF-16 before UTF-8", Case(codecs.BOM_UTF16_LE + good)
    for where, content in (("first", b"\0" + good), ("last", good + b"\0"), ("header", good.replace(b"l", b"\0", 1))):
        yield f"a NUL byte, {where}", Case(content)
    yield "a NUL byte in a cell", Case(good.replace(b"c1cc", b"c1\0cc"))
    for name, magic in MAGIC.items():
        yield f"bytes of {name}", Case(magic + good)


def separators() -> Iterator[tuple[str, Case]]:
    for separator in (";", "\t", "|", " ", ":", ", ", ",,"):
        for quote in ("", '"'):
            header = separator.join(("smiles", "label"))
            content = text(ROWS, header, separator, quote=quote).encode()
            yield f"{separator!r} between fields, quotes {quote!r}", Case(content)
        comma = [(smiles, label.replace(".", ",")) for smiles, label in ROWS]
        yield f"{separator!r} and a decimal comma", Case(text(comma, header, separator).encode())
        yield f"{separator!r} in the rows alone", Case(text(ROWS, "smiles,label", separator).encode())
    yield "a spreadsheet's line on separators", Case(b"sep=;\n" + text(ROWS, "smiles;label", ";").encode(), rows=4)


def line_ends() -> Iterator[tuple[str, Case]]:
    for end in ("\n", "\r\n", "\r", "\n\r", "\r\r\n", "\v", "\f", "\x1c", "\x85", "\u2028"):
        yield f"lines end in {end!r}", Case(text(end=end).encode(), rows=3 if end in ("\n", "\r\n", "\r") else 9)
    yield "no end of the last line", Case(text().rstrip().encode())
    yield "mixed ends", Case(b"smiles,label\r\nCCO,1.5\nc1ccccc1,-0.3\rCC(=O)O,2e-1")
    yield "one line", Case(text(end=" ").encode(), rows=0)


#: Benzene's SMILES, written wrongly.
QUOTED = (
    '"', '"c1ccccc1', 'c1"ccccc1', 'c1ccccc1"', '""', '"c1ccccc1"C', ' "c1ccccc1"', r'"c1\"ccccc1"', '"c1\nccccc1"',
)  # fmt: skip


def quoting() -> Iterator[tuple[str, Case]]:
    yield "all in quotes", Case(text(quote='"').encode())
    yield "single quotes", Case(text(quote="'").encode(), line=2)
    yield "typographic quotes", Case(text(quote="“").encode(), line=2)
    for fault in QUOTED:
        yield f"the SMILES {fault!r}", Case(text([ROWS[0], (fault, "1"), ROWS[2]]).encode(), line=FAULTY)
        yield f"the label {fault!r}", Case(text([ROWS[0], ("C", fault), ROWS[2]]).encode(), line=FAULTY)
    yield "an open quote in the header", Case(b'smiles,"label\n' + text().encode())
    yield "a line break in another column", Case(b'smiles,label,note\nCCO,1,"a\nb"\nCC,2,c\nCCC,3,d\n')


def columns() -> Iterator[tuple[str, Case]]:
    headers = (
        "name,label", "smiles,weight", "a,b", "smiles,smiles", "label,label", "smiles,SMILES", "label,exp", ",",
        "smiles,", ",label", " , ", "smiles", "label", "Smiles ,LABEL", "smiles\xa0,label", "\u202esmiles,label",
        "\u0455miles,label", "0,1", "CCO,1.5", "# smiles,label", "smiles,label,", "smiles,label,label",
        "smiles,label,a,a", "smiles,label,,",
    )  # fmt: skip
    for header in headers:
        width = header.count(",") + 1
        rows = [(*row, "x", "y")[:width] for row in ROWS]
        yield f"the header {header!r}", Case(text(rows, header).encode())
    yield "no header", Case(text().split("\n", 1)[1].encode(), rows=2)
    yield "the header twice", Case(b"smiles,label\n" + text().encode(), rows=4, line=2)
    yield "the header at the end", Case(text(ROWS[:1]).encode() + b"smiles,label\n", rows=2, line=3)
    yield "a title above", Case(b"My measurements\n" + text().encode(), rows=4)
    yield "a comment above", Case(b"# 2024\n" + text().encode(), rows=4)
    yield "a units line", Case(text([("-", "logD"), *ROWS]).encode(), rows=4, line=2)
    yield "the header alone", Case(b"smiles,label\n", rows=0)
    for content in (b"", b"\n", b" ", b"\n\n\n", b",", b'""', b"\t", b"\r", b"smiles", b"\x1a"):
        yield f"nothing but {content!r}", Case(content, rows=0)


def ragged() -> Iterator[tuple[str, Case]]:
    odd = {"fewer": "CC", "more": "CC,1,2", "many": "CC,1" + ",2" * 50, "none": "", "blanks": "  "}
    for name, line in odd.items():
        for at in range(3):
            lines = ["CCO,1.5", "CCN,2", "CCC,3"]
            lines[at] = line
            yield f"{name} fields in row {at + 1}", Case("\n".join(["smiles,label", *lines, ""]).encode(), line=at + 2)
    yield "a comma at every row's end", Case(text([(*row, "") for row in ROWS]).encode(), line=None)
    yield "a comma at every line's end", Case(text([(*row, "") for row in ROWS], "smiles,label,").encode())
    yield "blank lines at the end", Case(text().encode() + b"\n\n", rows=5, line=5)
    yield "commas alone at the end", Case(text().encode() + b",\n,\n", rows=5, line=5)


def huge() -> Iterator[tuple[str, Case]]:
    yield "a SMILES of a million characters", Case(with_cell(0, "C" * 1_000_000), line=FAULTY)
    yield "a SMILES of 130,000 characters", Case(with_cell(0, "C" * 130_000), line=FAULTY)
    yield "a SMILES of 30,000 characters", Case(with_cell(0, "C" * 30_000), line=FAULTY)
    yield "30,000 rings", Case(with_cell(0, "C1CC1" * 6_000), line=FAULTY)
    yield "20,000 branches", Case(with_cell(0, "C(" * 20_000 + "C" + ")" * 20_000), line=FAULTY)
    yield "a label of 5,000 digits", Case(with_cell(1, "9" * 5_000), line=FAULTY)
    yield "a label of 5,000 decimals", Case(with_cell(1, "1." + "3" * 5_000), line=FAULTY)
    long = "smiles,label," + "n" * 100_000
    yield "a column of 100,000 characters", Case(text([(*row, "x") for row in ROWS], long).encode())
    wide = [f"x{i}" for i in range(1_000)]
    yield "1,000 columns", Case((",".join(["smiles,label", *wide]) + "\nC,1" + ",0" * 1_000).encode(), 1)
    yield "1,000 columns without a label", Case((",".join(wide) + "\nC" + ",1" * 999 + "\n").encode(), 1)
    yield "60,000 columns of one name", Case(("smiles,label" + ",a" * 60_000 + "\nC,1" + ",0" * 60_000).encode(), 1)
    yield "60,000 fields in a row", Case(("smiles,label\nC" + ",1" * 60_000 + "\n").encode(), 1, line=2)
    yield "1,000 faulty rows", Case(("smiles,label\n" + "C1,x\n" * 1_000).encode(), 1_000, line=2)


LABELS = (
    "=1+1", "=SUM(A1:A2)", "+1+1", "-1+2", "@SUM(A1)", "=cmd|' /C calc'!A0", '=HYPERLINK("http://x")', "#DIV/0!",
    "#REF!", "1,5", "1.234,5", "1,234.5", "1 000", "1\u00a0000", "1.5.2", "<5", ">3", "~2", "1.5±0.2", "1.5 logD",
    "5%", "$5", "'1.5", "−1.5", "–1.5", "½", "１", "١", "1e", "e5", "1e400", "-1e400", "inf", "-Infinity", "nan",
    "NaN", "NA", "N/A", "null", "None", "-", "--", ".", "", " ", "high", "TRUE", "0x10", "1_000", "1d5", "2020-01-01",
    "12:30", "1\n2", "1\t", "🧪", "\x1b[31m1", "%s%n", "${1}",
)  # fmt: skip
SMILES = (
    "=1+1", "=SUM(A1:A2)", "=cmd|' /C calc'!A0", "../../etc/passwd", "/etc/passwd", "C:\\x.csv", "file:///etc/passwd",
    "~/x", "$(reboot)", "`ls`", "; drop table", "%s%n", "{0}", "${HOME}", "<script>", "\x1b[31mC", "C\x07", "🧪",
    "aspirin", "InChI=1S/CH4/h1H4", "VNWKTOKETHGBQD", "nan", "NA", "None", "null", "C1CC", "C(", "C)", "[C", "C]",
    "CC(C)(C)(C)C", "c1cccn1", "C%(100)CC%(100)", "[Re]$[Re]", "[999999999999C]", "[C@@@@]", "CCO |$a$|",
    "CCO ethanol", "C>>C", "HCl", "<mask>", "<unk>", "C<eos>", "C\u200b", "\u200f", "\uff23", "\u0421", "C\u0301",
    "C\nC", "C\tC", " ", "", "C" * 200, "[1]",
)  # fmt: skip


def cells() -> Iterator[tuple[str, Case]]:
    for value in LABELS:
        yield f"the label {value!r}", Case(with_cell(1, value), line=FAULTY)
    for value in SMILES:
        yield f"the SMILES {value[:20]!r} in quotes", Case(with_cell(0, value), line=FAULTY)
    marks = [(*row, mark) for row, mark in zip(ROWS, ("True", "maybe" * 10_000, "False"), strict=True)]
    yield "a mark that is no mark", Case(text(marks, "smiles,label,corrupted").encode(), line=FAULTY)


PARTS = (encodings, marks, separators, line_ends, quoting, columns, ragged, huge, cells)


def cases() -> dict[str, Case]:
    """All of them, by what is wrong."""
    found = [(f"{part.__name__}: {name}", case) for part in PARTS for name, case in part()]
    assert len(dict(found)) == len(found), "two cases of one name"
    return dict(found)
