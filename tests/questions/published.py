"""Rows and files in the published forms, for tests of the importers."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

OPTIONS = ("Insulin", "Glucagon", "Metformin", "Saline")


def medqa(n: int = 0, **fields: Any) -> dict[str, Any]:
    options = fields.pop("options", dict(zip("ABCD", OPTIONS, strict=True)))
    letter = fields.get("answer_idx", "A")
    row = {
        "question": f"Patient {n} has ketoacidosis. What comes first?",
        "answer": options.get(letter, "Insulin") if isinstance(options, dict) else "Insulin",
        "options": options,
        "meta_info": "step1",
        "answer_idx": letter,
        "metamap_phrases": ["ketoacidosis"],
    }
    return row | fields


def medmcqa(n: int = 0, **fields: Any) -> dict[str, Any]:
    row = {
        "question": f"Drug {n} of choice in ketoacidosis",
        "exp": None,
        "cop": n % 4 + 1,
        **dict(zip(("opa", "opb", "opc", "opd"), OPTIONS, strict=True)),
        "subject_name": "Medicine",
        "topic_name": None,
        "id": f"00000000-0000-0000-0000-{n:012d}",
        "choice_type": "single",
    }
    return row | fields


def pubmedqa(n: int = 0, **fields: Any) -> dict[str, Any]:
    row = {
        "QUESTION": f"Does treatment {n} work?",
        "CONTEXTS": [f"We studied {n} patients.", "Most recovered."],
        "LABELS": ["METHODS", "RESULTS"],
        "MESHES": ["Humans"],
        "YEAR": None,
        "reasoning_required_pred": "yes",
        "reasoning_free_pred": "yes",
        "final_decision": "yes",
        "LONG_ANSWER": "It works.",
    }
    return row | fields


def lines(*rows: Any) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def table(*rows: tuple[str, ...]) -> str:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue()


def mmlu(n: int = 0, answer: str = "A") -> tuple[str, ...]:
    return (f"Where is organ {n}?", "Head", "Chest", "Belly", "Leg", answer)


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path
