"""Stems as the review screen shows them: tables kept, values in the other units, nothing lost; literature searches."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.reasoning.sentences import split_sentences
from apps.reasoning.text import split_stem
from apps.review.screen.cites import cited_sentences
from apps.review.screen.literature import MOST_TERMS, PUBMED, search_address
from apps.review.screen.stem import Block, read_blocks, with_values
from apps.review.screen.units import ANALYTES, CONVENTIONAL, SI, Analyte, find_values


def others(text: str) -> list[str]:
    return [found.other for found in find_values(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Her serum glucose is 589 mg/dL.", ["32.7 mmol/L"]),
        ("Fasting blood glucose of 126 mg/dL", ["7.0 mmol/L"]),
        ("Creatinine 4.2 mg/dL and urea nitrogen 25 mg/dL", ["371 µmol/L", "8.9 mmol/L"]),
        ("Ca2+ 6.8 mg/dL", ["1.70 mmol/L"]),
        ("serum calcium level of 11.5 mg/dL", ["2.87 mmol/L"]),
        ("Total bilirubin: 8.4 mg/dL", ["144 µmol/L"]),
        ("Bilirubin, total 0.7 mg/dL", ["12 µmol/L"]),
        ("Hemoglobin 6.4 g/dL", ["64 g/L"]),
        ("haemoglobin concentration was 64 g/L", ["6.4 g/dL"]),
        ("Total cholesterol is 240 mg/dL; LDL-cholesterol 160 mg/dL", ["6.2 mmol/L"]),
        ("glucose 90–126 mg/dL", ["5.0–7.0 mmol/L"]),
        ("blood glucose is 5.5 mmol/L", ["99 mg/dL"]),
        ("creatinine is 1,768 µmol/L", ["20.0 mg/dL"]),
    ],
)
def test_values_in_the_other_units(text: str, expected: list[str]) -> None:
    assert others(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Hemoglobin 16 mg/dL",  # a unit that haemoglobin is not given in: a typing error is not converted
        "Creatinine 0.8 mg/L",
        "Hemoglobin A1c 8.1 g/dL",
        "Mean corpuscular hemoglobin concentration 33 g/dL",
        "creatinine clearance of 60 mL/min",
        "calcium gluconate 10 mg/dL",
        "urea 40 mg/dL",  # urea or its nitrogen?
        "glucose 5 mg/dL/h",
        "The glucose was normal. Sodium is 140 mg/dL",
        "He took 500 mg of calcium",
        "bilirubin 0.01 µmol/L",
    ],
)
def test_left_alone_where_it_is_not_unmistakable(text: str) -> None:
    assert others(text) == []


@given(st.sampled_from(ANALYTES), st.floats(0.5, 900).map(lambda value: round(value, 1)), st.booleans())
def test_there_and_back_again(analyte: Analyte, value: float, to_si: bool) -> None:
    """Converted and converted back, a value is what it was, but for the decimals that are not shown."""
    name = {"haemoglobin": "haemoglobin", "urea nitrogen": "BUN"}.get(analyte.name, analyte.name)
    unit, other_unit = (analyte.conventional, analyte.si) if to_si else (analyte.si, analyte.conventional)
    for found in find_values(f"{name} {value} {unit}"):
        number, shown_unit = found.other.split(" ")
        assert shown_unit == other_unit
        assert found.system == (SI if to_si else CONVENTIONAL)
        exact = value * analyte.factor if to_si else value / analyte.factor
        assert abs(float(number.replace(",", "")) - exact) <= 0.5 * 10 ** -analyte.digits[to_si] + 1e-9


def flat(blocks: list[Block]) -> str:
    said = []
    for block in blocks:
        said += [piece.text for piece in block.pieces]
        said += [text for row in block.rows for text in (row.name, *(piece.text for piece in row.value))]
    return "".join("".join(said).split())


LINES = st.one_of(
    st.text(alphabet="aeh GluceosHmgbin/dL 0123456789.,:%-<>()=\u00b5", min_size=1, max_size=60),
    st.sampled_from(
        [
            "Hemoglobin 6.4 g/dL",
            "Serum",
            "Serum:",
            "Na+: 139 mEq/L",
            "Glucose: 589 mg/dL",
            "Total bilirubin",
            "8.4 mg/dL",
            "Urine",
            "WBC",
            "9,800/mm3",
            "Renal biopsy shows spindles.",
            "Leukocyte esterase positive",
        ]
    ),
)


@given(st.lists(LINES, max_size=12))
def test_nothing_of_a_stem_is_lost(lines: list[str]) -> None:
    paragraphs = [line.strip() for line in lines if line.strip()]
    without = str.maketrans("", "", ":= \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0")  # what stands between name and value
    assert flat(read_blocks(paragraphs)).translate(without) == "".join(paragraphs).translate(without)


@given(st.text(max_size=200))
def test_pieces_are_the_text(text: str) -> None:
    assert "".join(piece.text for piece in with_values(text)) == text


MEDQA = (
    "A 27-year-old man is unresponsive. Initial laboratory values are shown below.\n\nSerum:\nNa+: 139 mEq/L\n"
    "Glucose: 589 mg/dL\n\nThe patient is given treatment.\n\nSerum:\nK+: 4.3 mEq/L\nGlucose: 90 mg/dL\n\n"
    "Which of the following is the best next step in management?"
)


def test_lab_lines_of_medqa_are_tables() -> None:
    first, table, between, second = read_blocks(split_stem(MEDQA).paragraphs)
    assert first.pieces[0].text.startswith("A 27-year-old")
    assert [row.name for row in table.rows] == ["Serum", "Na+", "Glucose"]
    assert table.rows[0].value == ()
    assert table.rows[2].value[0].other == "32.7 mmol/L"
    assert between.pieces[0].text == "The patient is given treatment."
    assert len(second.rows) == 3


def test_a_stray_quotation_mark_does_not_hide_what_is_asked() -> None:
    stem = split_stem('Laboratory studies show:\nHemoglobin 6.4 g/dL\nESR 33 mm/h\nWhich of these is most likely?"')
    assert stem.ask == 'Which of these is most likely?"'
    assert len(read_blocks(stem.paragraphs)[1].rows) == 2


def test_a_name_and_its_value_on_two_lines_are_one_row() -> None:
    stem = "A panel is performed:\nTotal bilirubin\n8.4 mg/dL\nWBC\n9,800/mm3\nPeripheral smear shows elongated cells."
    blocks = read_blocks(split_stem(stem).paragraphs)
    assert [(row.name, row.value[0].text) for row in blocks[1].rows] == [
        ("Total bilirubin", "8.4 mg/dL"),
        ("WBC", "9,800/mm3"),
    ]
    assert blocks[2].pieces[0].text.startswith("Peripheral smear")


def test_prose_with_numbers_is_no_table() -> None:
    blocks = read_blocks(["He is 61 years old.", "His pulse is 93/min and he has fever.", "Sodium 139 mEq/L"])
    assert all(block.pieces for block in blocks)


def test_search_asks_for_the_key_and_the_ask() -> None:
    address = search_address("Which of the following is the next best step in management?", "Replace potassium")
    assert address == f"{PUBMED}?term=Replace+potassium+management"
    assert "yes" not in search_address("Does metformin reduce mortality?", "yes")


@given(st.text(max_size=80), st.text(max_size=80))
def test_search_is_always_a_safe_address(ask: str, key: str) -> None:
    found = urlsplit(search_address(ask, key))
    assert (found.scheme, found.netloc, found.path, found.fragment) == ("https", "pubmed.ncbi.nlm.nih.gov", "/", "")
    terms = parse_qs(found.query, keep_blank_values=True)
    assert list(terms) == ["term"]
    words = terms["term"][0].split()
    assert len(words) <= MOST_TERMS
    assert all(word.replace("-", "").replace("_", "").isalnum() for word in words)


PATH = (
    "Potassium is 3.1, so it is low. Insulin drives potassium into cells. Hold insulin until it is replaced. "
    "So the answer is D."
)


@pytest.mark.parametrize(
    ("reason", "numbers"),
    [
        ('It is right that "insulin drives potassium into cells", and it holds it.', {2}),
        ("“potassium is 3.1,  so it is low. Insulin drives potassium” is sound.", {1, 2}),
        ('"Hold insulin … answer is D" follows.', {3, 4}),
        ('"It" and "is low" are too short to point anywhere.', set()),
        ('"Bicarbonate raises potassium" is not in the path.', set()),
        ("No quotation.", set()),
    ],
)
def test_sentences_that_a_reason_quotes(reason: str, numbers: set[int]) -> None:
    assert cited_sentences(reason, split_sentences(PATH)) == numbers


@given(st.text(max_size=120), st.text(max_size=120))
def test_any_sentence_quoted_in_full_is_cited(reason: str, text: str) -> None:
    sentences = split_sentences(text)
    assert cited_sentences(reason, sentences) <= {sentence.number for sentence in sentences}
    for sentence in split_sentences(PATH)[:3]:
        assert sentence.number in cited_sentences(f'He says "{sentence.text}".', split_sentences(PATH))


def test_what_asks_begins_after_the_table_even_in_mid_sentence():
    """ "In addition to …, which of the following …" after lines that end without a full stop."""
    stem = split_stem(
        "Studies show:\nGlucose 90 mg/dL\nArterial blood pH 7.11\nIn addition to dialysis, which of these is given?"
    )
    assert stem.ask == "In addition to dialysis, which of these is given?"
    assert stem.paragraphs == ("Studies show:", "Glucose 90 mg/dL", "Arterial blood pH 7.11")
