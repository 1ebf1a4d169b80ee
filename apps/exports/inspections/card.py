"""What the dataset card says of gates and contamination. No database here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apps.exports.gates.texts import GATE_WORDS

DONE = {"off": "not asked", "warn": "kept", "exclude": "left out"}
POLICIES = {"keep": "were not looked for", "warn": "were kept", "exclude": "were left out"}


def gates_part(manifest: Mapping[str, Any]) -> str:
    gates = manifest.get("gates")
    if not gates:
        return "## Quality gates\n\nNone was asked.\n"
    lines = ["| Gate | Finds | Records | What happened |", "| --- | --- | --- | --- |"]
    lines += [
        f"| `{gate}` | {GATE_WORDS.get(gate, '')} | {one['records']:,} | {DONE[one['switch']]} |"
        for gate, one in gates["by_gate"].items()
    ]
    return (
        "## Quality gates\n\nRules over the text of each record. They find what looks wrong; a record that none of them finds "
        f"may be wrong all the same. {gates['left_out']:,} of {gates['records']:,} records were left out by a gate.\n\n"
        + "\n".join(lines)
        + "\n"
    )


def contamination_part(manifest: Mapping[str, Any]) -> str:
    found = manifest.get("contamination")
    if not found:
        return (
            "## Contamination\n\nNear-duplicates in evaluation sets were not looked for; copies word for word of held-out "
            "questions are counted under “Limitations”.\n"
        )
    n = found["questions"]
    said = [
        f"- {n['itself'] + n['exact'] + n['near']:,} questions that were ready to leave stand in an evaluation set ({n['itself']:,} "
        f"are of one themselves, {n['exact']:,} word for word, {n['near']:,} nearly, from a similarity of {found['threshold']:g} on); "
        f"such questions {POLICIES[found['policy']]}.",
        f"- {n['within']:,} are nearly the same as an earlier one; such questions {POLICIES[found['within']]}.",
    ]
    compared = [f"{s['name']} ({s['imported']:,} of {s['published']:,})" for s in found["sets"] if s["imported"]]
    said.append(f"- Compared with {', '.join(compared) or 'none of the nine evaluation sets'}.")
    if found["not_compared"]:
        said.append(f"- **Not known** for {', '.join(found['not_compared'])}: they were not in the database.")
    return "## Contamination\n\n" + "\n".join(said) + "\n"
