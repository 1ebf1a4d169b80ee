"""`CITATION.cff` (Citation File Format 1.2.0), and the same as a line for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

METHOD = "ReasonMed: A 370K Multi-Agent Generated Dataset for Advancing Medical Reasoning"
METHOD_URL = "https://arxiv.org/abs/2506.09513"
METHOD_AUTHORS = (
    ("Sun", "Yu"), ("Qian", "Xingyu"), ("Xu", "Weiwen"), ("Zhang", "Hao"), ("Xiao", "Chenghao"), ("Li", "Long"),
    ("Zhao", "Deli"), ("Huang", "Wenbing"), ("Xu", "Tingyang"), ("Bai", "Qifeng"), ("Rong", "Yu"),
)  # fmt: skip
SOFTWARE = "ReasonMed Workbench"


def citation(manifest: Mapping[str, Any]) -> bytes:
    """`manifest` with its `merkle` and `publisher`. It has no date: an export that is built again is the same."""
    lines = [
        "cff-version: 1.2.0",
        'message: "If you use this dataset, please cite it as below, and its sources as the card lists them."',
        "type: dataset",
        f"title: {yaml_text(manifest['run'])}",
        f"abstract: {yaml_text(_abstract(manifest))}",
        "authors:",
        f"  - name: {yaml_text(manifest['publisher'])}",
        "keywords:",
        "  - medical question answering",
        "  - chain of thought",
        "identifiers:",
        "  - type: other",
        f"    value: {yaml_text(manifest['merkle']['root'])}",
        '    description: "Merkle root over the records (RFC 6962, SHA-256), as reasonmed-verify checks it"',
        "references:",
        "  - type: article",
        f"    title: {yaml_text(METHOD)}",
        f"    url: {yaml_text(METHOD_URL)}",
        "    year: 2025",
        "    authors:",
        *(f"      - family-names: {yaml_text(last)}\n        given-names: {yaml_text(first)}" for last, first in METHOD_AUTHORS),
        "  - type: software",
        f"    title: {yaml_text(SOFTWARE)}",
        f"    version: {yaml_text(manifest['code_version'])}",
        "    authors:",
        f"      - name: {yaml_text(SOFTWARE)}",
    ]  # fmt: skip
    return ("\n".join(lines) + "\n").encode()


def cite_as(manifest: Mapping[str, Any]) -> str:
    """BibTeX; what it holds can close neither a brace nor a code block."""
    plain = {key: _bare(str(manifest[key])) for key in ("run", "publisher")}
    key = "".join(c for c in plain["run"].lower() if c.isascii() and c.isalnum()) or "export"
    return (
        f"@misc{{{key},\n  title = {{{{{plain['run']}}}}},\n  author = {{{{{plain['publisher']}}}}},\n"
        f"  note = {{{manifest['records']:,} records a set, Merkle root {manifest['merkle']['root']}}}\n}}"
    )


def yaml_text(text: str) -> str:
    """On one line, in double quotes: every JSON string of printable characters is one of YAML, too."""
    return json.dumps("".join(c if c.isprintable() else " " for c in text), ensure_ascii=False)


def _abstract(manifest: Mapping[str, Any]) -> str:
    simulated = (
        " It rests on simulated model calls: made to try the workbench, not to train on."
        if manifest["simulated"]
        else ""
    )
    return (
        f"{manifest['records']:,} records of {manifest['questions']['exported']:,} multiple-choice medical questions with reasoning "
        f"that was judged, ranked and, where many attempts failed, rewritten and judged again.{simulated}"
    )


def _bare(text: str) -> str:
    return "".join(c for c in text if c.isprintable() and c not in "{}\\`@%")
