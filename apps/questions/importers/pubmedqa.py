"""PubMedQA, labelled: one JSON object keyed by PMID. The abstract's sections are part of what is asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
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
    texts_of,
)
from apps.questions.importers.files import SourceFile
from apps.questions.importers.jsonstream import keyed_rows
from apps.questions.importers.sniff import refuse_other_benchmark

DECISIONS = ("yes", "no", "maybe")
_META = {"YEAR": "year", "reasoning_required_pred": "reasoning_required", "reasoning_free_pred": "reasoning_free"}


def read(source: SourceFile, options: ReadOptions) -> Iterator[ParsedQuestion | Problem]:
    """Rows of the test key are test, whatever split was named. Labelled rows read without the key stay held out:
    half of the labelled set is the test set, and only the key tells which half."""
    refuse_other_benchmark(source, "pubmedqa")
    test_ids = options.held_out_ids

    def parse(line: int, record: Any) -> ParsedQuestion:
        pmid, value = record
        row = members(value, "PubMedQA")
        if not (pmid.isascii() and pmid.isdigit() and len(pmid) <= 12):
            raise RowError("PMID", f"the row's name must be a PubMed id, not {shown(pmid)}")
        split = "test" if test_ids is not None and pmid in test_ids else options.split
        decision = text_of(row.get("final_decision"), "final_decision").lower()
        if decision not in DECISIONS:
            raise RowError("final_decision", f"must be yes, no or maybe, not {shown(decision)}")
        return ParsedQuestion(
            line=line,
            stem=text_of(row.get("QUESTION"), "QUESTION"),
            options=list(DECISIONS),
            key=DECISIONS.index(decision),
            split=split,
            held_out=split == "test" or (split == "labelled" and test_ids is None),
            source_id=pmid,
            subject=options.subject,
            contexts=_contexts(row),
            explanation=text_of(row.get("LONG_ANSWER"), "LONG_ANSWER", required=False),
            meta=_meta(row),
        )

    return parse_rows(source, ((line, (pmid, value)) for line, pmid, value in keyed_rows(source)), parse)


def read_held_out_ids(path: Path) -> frozenset[str]:
    """The PMIDs of the test key: an object keyed by them (test_ground_truth.json), or a list of them."""
    source = SourceFile(path)
    if source.size > 50_000_000:
        raise FileRefused("is too large for a list of ids")
    try:
        found = json.loads("".join(source.chunks()))
    except (ValueError, RecursionError) as error:
        raise FileRefused(f"not JSON: {error}") from error
    ids = frozenset(map(str, found)) if isinstance(found, dict | list) else frozenset()
    if not ids or not all(pmid.isascii() and pmid.isdigit() for pmid in ids):
        raise FileRefused("must be a JSON object keyed by PMID, or a list of PMIDs")
    return ids


def _contexts(row: dict[str, Any]) -> list[dict[str, str]]:
    texts = texts_of(row.get("CONTEXTS"), "CONTEXTS")
    labels = texts_of(row.get("LABELS"), "LABELS") or [""] * len(texts)
    if not any(texts):
        raise RowError("CONTEXTS", "empty")
    if len(labels) != len(texts):
        raise RowError("LABELS", f"{len(labels)} labels for {len(texts)} contexts")
    return [{"label": label, "text": text} for label, text in zip(labels, texts, strict=True) if text]


def _meta(row: dict[str, Any]) -> dict[str, Any]:
    meta: dict[str, Any] = {}
    for name, ours in _META.items():
        value = row.get(name)
        if text := text_of(str(value) if isinstance(value, int) else value, name, required=False):
            meta[ours] = text
    if terms := texts_of(row.get("MESHES"), "MESHES"):
        meta["mesh"] = terms
    return meta
