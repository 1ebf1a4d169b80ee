"""Laboratory values in the other system of units, for readers who think in it. Pure.

Conservative: a value is converted only where the analyte's name stands directly before it and the unit is one that
this analyte is given in. Everything else (typing errors of units among it) stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

CONVENTIONAL, SI = "conventional", "si"


@dataclass(frozen=True, slots=True)
class Analyte:
    """`factor` × the conventional value = the SI value. `digits`: decimals worth showing, (conventional, SI)."""

    name: str
    pattern: str
    conventional: str
    si: str
    factor: float
    digits: tuple[int, int]


# Factors: AMA Manual of Style, 11th ed., table of conversion factors
ANALYTES = (
    Analyte("glucose", r"(?:blood |plasma |serum |fasting |random )*(?:glucose|blood sugar)", "mg/dL", "mmol/L", 0.0555, (0, 1)),
    Analyte("urea nitrogen", r"(?:(?:blood )?urea nitrogen|BUN)(?: \(BUN\))?", "mg/dL", "mmol/L", 0.357, (0, 1)),
    Analyte("creatinine", r"creatinine", "mg/dL", "µmol/L", 88.4, (1, 0)),
    Analyte("calcium", r"(?:calcium|Ca2\+|Ca\+\+|Ca²⁺)", "mg/dL", "mmol/L", 0.2495, (1, 2)),
    Analyte("bilirubin", r"bilirubin", "mg/dL", "µmol/L", 17.1, (1, 0)),
    Analyte("haemoglobin", r"(?<!corpuscular )ha?emoglobin", "g/dL", "g/L", 10.0, (1, 0)),
    Analyte("cholesterol", r"cholesterol", "mg/dL", "mmol/L", 0.0259, (0, 1)),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Found:
    """A value in a text: text[start:end] is number and unit; `other` is it in the `system` the text does not use."""

    start: int
    end: int
    other: str
    system: str


def find_values(text: str) -> Iterator[Found]:
    """In order, never overlapping."""
    for match in _VALUE.finditer(text):
        analyte = next(analyte for n, analyte in enumerate(ANALYTES) if match[f"a{n}"])
        if (system := _system(analyte, match["unit"])) is None or (other := _convert(analyte, match, system)) is None:
            continue
        yield Found(match.start("first"), match.end("unit"), other, CONVENTIONAL if system == SI else SI)


_NUMBER = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d{1,5}(?:\.\d+)?"
_BETWEEN = (  # what may stand between the name and the number; anything else, and the number may be about another thing
    r"(?:,? ?\(?(?:total|fasting|random|direct|indirect|conjugated|unconjugated|serum|plasma)\)?)?"
    r"(?: (?:level|concentration|value|levels|count))?(?: (?:of|is|was|at|to|falls to|rises to|decreased to|increased to)| =)?"
    r"(?: (?:about|approximately|only|greater than|less than|more than|above|below|over|under|at least))?[:,]?\s*(?:[<>≤≥~]\s*)?"
)
_NAMES = "|".join(rf"(?P<a{n}>{a.pattern})" for n, a in enumerate(ANALYTES))
_VALUE = re.compile(
    rf"(?<![\w-])(?:{_NAMES}){_BETWEEN}(?<![\w.,])(?P<first>{_NUMBER})(?:\s?[-–]\s?(?P<last>{_NUMBER}))?"
    r"\s?(?P<unit>mg/d[lL]|mg %|g/d[lL]|g/[lL]|mmol/[lL]|[µμ]mol/[lL])(?![\w/%])",
    re.IGNORECASE,
)


def _system(analyte: Analyte, unit: str) -> str | None:
    plain = unit.lower().replace("μ", "µ")
    if plain == analyte.conventional.lower():
        return CONVENTIONAL
    return SI if plain == analyte.si.lower() else None


def _convert(analyte: Analyte, match: re.Match[str], system: str) -> str | None:
    """ "5.6 mmol/L"; none where nothing would be left of the value but zeros."""
    to_si = system == CONVENTIONAL
    digits = analyte.digits[to_si]
    given = [float(number.replace(",", "")) for number in (match["first"], match["last"]) if number]
    turned = [value * analyte.factor if to_si else value / analyte.factor for value in given]
    if any(round(value, digits) == 0 for value in turned):
        return None
    return f"{'–'.join(f'{value:,.{digits}f}' for value in turned)} {analyte.si if to_si else analyte.conventional}"
