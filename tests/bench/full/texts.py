"""Pools of made-up medical text, from which `fill` puts every row's text together: compressible, but no two rows alike.

Words are drawn by rank, as in real text, so that searches meet common, middling and rare words.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

KNOWN = (  # noqa: SIM905
    "patient the of with and in is this therefore which likely because findings option not than shows history acute "
    "chronic diagnosis treatment blood pressure pain fever renal hepatic cardiac pulmonary infection syndrome elevated "
    "reduced serum potassium sodium insulin diabetes hypertension pneumonia sepsis anaemia thyroid pregnancy tumour biopsy "
    "antibiotic steroid aspirin heparin warfarin lithium digoxin asthma embolism thrombosis stroke seizure meningitis "
    "arthritis osteoporosis fracture lesion ulcer bleeding jaundice cirrhosis hepatitis pancreatitis glomerulonephritis "
    "sarcoidosis amyloidosis phaeochromocytoma porphyria"
).split()
SECTIONS = ("restate", "findings", "options", "exclude", "compare", "conclude")
SECTION_WORDS = {"restate": 28, "findings": 44, "options": 66, "exclude": 44, "compare": 34, "conclude": 20}
POOL = 2_000  # texts of each kind


def vocabulary(rng: random.Random) -> list[str]:
    syllables = [
        "car",
        "dio",
        "neph",
        "ro",
        "hep",
        "ato",
        "my",
        "elo",
        "gas",
        "tro",
        "der",
        "ma",
        "to",
        "ly",
        "ti",
        "ne",
        "phal",
        "en",
        "os",
        "teo",
        "cy",
        "ta",
        "pul",
        "mon",
        "ar",
        "thro",
    ]
    coined = {"".join(rng.choices(syllables, k=rng.randint(2, 4))) for _ in range(6_000)}
    return KNOWN + sorted(coined)


def pools() -> Iterator[tuple[str, int, str]]:
    """(kind, number from 0, text): `stem` of 600–900 characters, `option`, `reason`, `response`, and a path's sections."""
    rng = random.Random(11)
    words = vocabulary(rng)
    weights = [1 / (rank + 6) for rank in range(len(words))]

    def sentences(count: int) -> str:
        said, drawn = [], rng.choices(words, weights, k=count)
        while drawn:
            length = rng.randint(8, 18)
            said.append(" ".join(drawn[:length]).capitalize() + ".")
            drawn = drawn[length:]
        return " ".join(said)

    sizes = {"stem": (66, 96), "option": (2, 6), "reason": (18, 34), "response": (40, 70)}
    for kind, (least, most) in sizes.items():
        for number in range(POOL):
            text = sentences(rng.randint(least, most))
            yield kind, number, text.rstrip(".") if kind == "option" else text
    for kind, mean in SECTION_WORDS.items():
        for number in range(POOL):
            yield kind, number, f"## {kind.capitalize()}\n{sentences(rng.randint(mean * 2 // 3, mean * 4 // 3))}"
