"""MedMCQA: JSON Lines (under a .json name) or an array of {id, question, opa..opd, cop, exp, subject_name, …}.

`cop` numbers the right option from 1 in the original release and from 0 in a later one; nothing in a row says which,
so the whole file decides before any row is read (PIPELINE §1).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from apps.questions.importers.base import (
    FileRefused,
    ParsedQuestion,
    Problem,
    ReadOptions,
    RowError,
    members,
    parse_rows,
    shown,
    text_of,
)
from apps.questions.importers.files import SourceFile
from apps.questions.importers.jsonstream import rows
from apps.questions.importers.sniff import refuse_other_benchmark

_OPTIONS = ("opa", "opb", "opc", "opd")
_EXPLAINED = re.compile(
    r"\W*(?:the\s+)?(?:correct\s+)?(?:ans(?:wer)?|option)\b(?:[\s.:]+(?:is|option))*[\W_]*([a-d])\b", re.I
)
_CLEAR = 0.9  # share of explanations that must agree; 1,081 of 1,085 do in the published validation set


def read(source: SourceFile, options: ReadOptions) -> Iterator[ParsedQuestion | Problem]:
    refuse_other_benchmark(source, "medmcqa")
    base = find_base(source) if options.cop_base is None else options.cop_base
    held_out = options.split in ("validation", "test")

    def parse(line: int, record: Any) -> ParsedQuestion:
        row = members(record, "MedMCQA")
        return ParsedQuestion(
            line=line,
            stem=text_of(row.get("question"), "question"),
            options=[text_of(row.get(name), name) for name in _OPTIONS],
            key=_key(row.get("cop"), base),
            split=options.split,
            held_out=held_out,
            source_id=_identity(row.get("id")),
            subject=options.subject or text_of(row.get("subject_name"), "subject_name", required=False),
            topic=text_of(row.get("topic_name"), "topic_name", required=False),
            explanation=text_of(row.get("exp"), "exp", required=False),
            meta={"choice_type": kind}
            if (kind := text_of(row.get("choice_type"), "choice_type", required=False))
            else {},
        )

    return parse_rows(source, rows(source), parse)


def find_base(source: SourceFile) -> int:
    """0 or 1: by the range of `cop`, else by the letters that explanations name. Raises FileRefused when still open."""
    seen: Counter[int] = Counter()
    votes: Counter[int] = Counter()
    for _line, row in rows(source):
        if not isinstance(row, dict) or type(cop := row.get("cop")) is not int:
            continue
        seen[cop] += 1
        named = _EXPLAINED.match(exp) if isinstance(exp := row.get("exp"), str) else None
        if named and 1 <= cop <= 3 and (base := cop - "abcd".index(named[1].lower())) in (0, 1):
            votes[base] += 1
    if seen[0] and seen[4]:
        raise FileRefused(
            "cop holds both 0 and 4, so it counts neither from 0 nor from 1; correct the file, or say --cop-base",
            field="cop",
        )
    if seen[0] or seen[4]:
        return 0 if seen[0] else 1
    if not seen.keys() - {-1}:
        return 0  # no row has a key: each is refused as such, whatever the base
    best, count = max(votes.items(), key=lambda vote: vote[1], default=(0, 0))
    if count and count >= _CLEAR * votes.total():
        return best
    raise FileRefused(
        "cop holds neither 0 nor 4 and the explanations do not settle where it counts from; say --cop-base 0 or 1",
        field="cop",
    )


def _key(cop: Any, base: int) -> int:
    if cop is None or cop == -1:
        raise RowError("cop", "no key is given (test rows are published without)", no_key=True)
    if type(cop) is not int:
        raise RowError("cop", f"must be a whole number, not {shown(cop)}")
    if not 0 <= cop - base < len(_OPTIONS):
        raise RowError("cop", f"{shown(cop)} is outside the options, which count from {base} to {base + 3}")
    return cop - base


def _identity(value: Any) -> str:
    identity = text_of(value, "id")
    if not re.fullmatch(r"[\w.:-]{1,80}", identity, re.ASCII):
        raise RowError("id", f"must be at most 80 letters, digits, - _ . or :, not {shown(identity)}")
    return identity
