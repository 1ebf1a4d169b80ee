"""The dataset card: what is in the set, where it came from, what it must not be used for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from apps.exports.records import TITLES
from apps.reasoning.words import reason_words

STAGE_ROLES = {
    "generate": "wrote paths",
    "import": "wrote imported paths",
    "verify": "judged paths",
    "reverify": "judged rewritten paths",
    "rank": "ranked paths",
    "refine": "rewrote paths",
    "regenerate": "wrote new paths",
    "summarise": "wrote responses",
}
OUTPUTS = {
    "reasonmed": "`<think>{reasoning}</think>{response}`",
    "cotmed": "the reasoning alone",
    "responsemed": "the response alone",
}


def dataset_card(manifest: Mapping[str, Any], licences: Mapping[str, str]) -> str:
    """`manifest` is complete but for its `card`; `licences` maps a benchmark's name to its licence."""
    parts = [_front_matter(manifest), f"# {_cell(manifest['run'])}\n", *_notices(manifest)]
    parts += [_sets(manifest), _composition(manifest), _tiers(manifest), _models(manifest), _sources(licences)]
    parts += [_limitations(manifest), _tracing()]
    return "\n".join(parts)


def _front_matter(manifest: Mapping[str, Any]) -> str:
    """YAML whose values are written as JSON strings, which YAML reads as they are."""
    suffix = "{}-*.parquet" if manifest["format"] == "parquet" else "{}." + manifest["format"]
    lines = ["---", f"pretty_name: {json.dumps(manifest['run'])}", "language:", "- en", "license: other"]
    lines += ["task_categories:", "- question-answering", "tags:", "- medical", "- reasoning"]
    lines += ["- simulated"] if manifest["simulated"] else []
    lines += ["- held-out"] if manifest["held_out"] else []
    lines.append("configs:")
    for number, variant in enumerate(manifest["variants"]):
        lines += [f"- config_name: {variant}", *(["  default: true"] if number == 0 else [])]
        lines += ["  data_files:", "  - split: train", f'    path: "{suffix.format(variant)}"']
    return "\n".join([*lines, "---", ""])


def _notices(manifest: Mapping[str, Any]) -> list[str]:
    found = []
    if manifest["simulated"]:
        stages = ", ".join(f"{stage} {n:,}" for stage, n in manifest["simulated_by_stage"].items())
        found.append(
            f"> **Simulated.** {manifest['simulated_records']:,} of {manifest['records']:,} records rest on simulated model calls "
            f"({stages}). Their text was made by a program to try the workbench. Do not train on it, do not publish it.\n"
        )
    if manifest["held_out"]:
        found.append(
            f"> **Held out.** The run allowed questions of held-out test sets; {manifest['held_out_records']:,} records come from "
            "them. A model trained on this set cannot be evaluated on those benchmarks.\n"
        )
    return found


def _sets(manifest: Mapping[str, Any]) -> str:
    rows = [(f"`{v}`", TITLES[v], OUTPUTS[v], manifest["records"]) for v in manifest["variants"]]
    first = manifest["variants"][0]
    table = _table(("Configuration", "Set", "`output`", "Records"), rows)
    return (
        "Multiple-choice medical questions with reasoning that was judged, ranked and, where many attempts failed, rewritten and "
        "judged again. Each record has `instruction` (contexts, question and lettered options; never the key), `input` (empty) and "
        f"`output`. All sets hold the same records in the same order.\n\n{table}\n"
        f'```python\nfrom datasets import load_dataset\n\nds = load_dataset("path/to/this/folder", "{first}", split="train")\n```\n'
    )


def _composition(manifest: Mapping[str, Any]) -> str:
    rows = [
        (_cell(r["benchmark"]), r["split"], r["questions"], r["exported"], r["records"])
        for r in manifest["composition"]
    ]
    total = manifest["questions"]
    rows.append(("**Total**", "", total["total"], total["exported"], manifest["records"]))
    table = _table(("Benchmark", "Split", "Questions in the run", "Exported", "Records"), rows)
    reasons = [("exported", "", total["exported"])]
    reasons += [
        (state, _cell(reason_words(reason)), n)
        for state in ("excluded", "waiting")
        for reason, n in manifest[state].items()
    ]
    reasons.append(("**Total**", "", total["total"]))
    return (
        f"## Composition\n\n{table}\nEvery question of the run:\n\n{_table(('State', 'Reason', 'Questions'), reasons)}"
    )


def _tiers(manifest: Mapping[str, Any]) -> str:
    cutoffs, per = manifest["configuration"].get("cutoffs", {}), manifest["configuration"]
    paths = sum(len(g["temperatures"]) for g in per.get("generators", ()))
    easy, medium = cutoffs.get("easy"), cutoffs.get("medium")
    meaning = {
        "easy": f"0–{easy} errors among {paths} paths: the best Correct ones are kept",
        "medium": f"up to {medium} errors: the best are rewritten and judged again",
        "difficult": "more errors: a new path is written and judged",
    }
    rows = [(tier, meaning[tier], n["questions"], n["records"]) for tier, n in manifest["tiers"].items()]
    return f"## Tiers\n\n{_table(('Tier', 'What happened', 'Questions', 'Records'), rows)}"


def _models(manifest: Mapping[str, Any]) -> str:
    total = manifest["records"]
    rows = [
        (
            STAGE_ROLES.get(m["stage"], m["stage"]),
            _cell(m["model"]),
            _cell(m["terms"]),
            m["records"],
            f"{100 * m['records'] / total:.1f} %",
        )
        for m in manifest["models"]
    ]
    warnings = "".join(f"- {_cell(w)}\n" for w in manifest["warnings"])
    said = f"\nTo mind before use:\n\n{warnings}" if warnings else ""
    return f"## Models and the terms of their output\n\n{_table(('Role', 'Model', 'Terms', 'Records', 'Share'), rows)}{said}"


def _sources(licences: Mapping[str, str]) -> str:
    rows = [(_cell(name), _cell(licence) or "not recorded") for name, licence in sorted(licences.items())]
    return f"## Sources of the questions\n\n{_table(('Benchmark', 'Licence'), rows)}"


def _limitations(manifest: Mapping[str, Any]) -> str:
    overlap = manifest["held_out_overlap"]
    return (
        "## Limitations\n\n"
        "- The texts were written by language models. They read like medical reasoning; they are not medical advice.\n"
        "- A path counts as Correct when the effective label says so: a language model's verdict unless clinicians overrode it. "
        f"{manifest['overridden_records']:,} of {manifest['records']:,} records belong to questions on which a person overrode a verdict, set the tier or chose the paths.\n"
        f"- {manifest['signed_off_records']:,} of {manifest['records']:,} records were read and accepted by a person as they stand here.\n"
        "- The judge saw the key. It may forgive reasoning that reaches the key by a wrong way.\n"
        "- Keys and facts are those of the source benchmarks; some are disputed or out of date.\n"
        f"- Exported questions that also stand in a held-out set: {overlap['exact']:,} word for word, {overlap['same_stem']:,} with the "
        "same stem and other options.\n"
    )


def _tracing() -> str:
    return (
        "## Tracing a record\n\n"
        "`provenance.jsonl` has one line for each record, in the same order: question, paths, models, temperatures, prompt hashes, "
        "verdicts and calls, by their ids in the ledger. `manifest.json` has the sha256 of each file, the run's configuration and "
        "the hashes of its prompts. People stand there under pseudonyms.\n"
    )


def _table(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    heads = list(heads)
    lines = [heads, ["---"] * len(heads), *([f"{c:,}" if isinstance(c, int) else str(c) for c in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(text: str) -> str:
    """Free text on one line that neither ends a table's cell nor starts markup."""
    plain = " ".join(text.split()).replace("\\", "\\\\").replace("<", "&lt;")
    return "".join(f"\\{c}" if c in "|`*[]" else c for c in plain)
