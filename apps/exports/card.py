"""The dataset card: what is in the set, how good it is, where it came from, what it must not be used for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from apps.exports.forms.citation import METHOD, METHOD_URL, cite_as, yaml_text
from apps.exports.forms.sets import sets_of
from apps.exports.inspections.card import contamination_part, gates_part
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
FURTHER = {
    "messages": "`messages`: the first set as user and assistant turns, in the same order",
    "preferences": "`prompt`, `chosen`, `rejected`: a record’s reasoning against a path of the same question that is an Error",
    "steps": "`prompt`, `completions`, `labels`: a path that people judged, by sentences; `false` where they marked one as wrong",
}
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def dataset_card(manifest: Mapping[str, Any], licences: Mapping[str, str]) -> str:
    """`manifest` is complete but for its `card` and `extras`; `licences` maps a benchmark's name to its licence."""
    parts = [_front_matter(manifest), f"# {_cell(manifest['run'])}\n", *_notices(manifest)]
    parts += [_sets(manifest), _composition(manifest), _tiers(manifest), _quality(manifest["quality"])]
    parts += [gates_part(manifest), contamination_part(manifest)]
    parts += [_models(manifest), _sources(licences), _limitations(manifest), _citation(manifest)]
    parts += [_checking(manifest), _tracing(manifest)]
    return "\n".join(parts)


def _front_matter(manifest: Mapping[str, Any]) -> str:
    lines = ["---", f"pretty_name: {yaml_text(manifest['run'])}", "language:", "- en", "license: other"]
    lines += ["task_categories:", "- question-answering", "- text-generation", "tags:", "- medical", "- reasoning"]
    lines += ["- simulated"] if manifest["simulated"] else []
    lines += ["- held-out"] if manifest["held_out"] else []
    lines += ["size_categories:", f"- {next((words for n, words in SIZES if manifest['records'] < n), '1M<n<10M')}"]
    sets = list(sets_of(manifest))
    lines += ["configs:"] if sets else []
    for number, found in enumerate(sets):
        lines += [f"- config_name: {found.name}", *(["  default: true"] if number == 0 else [])]
        lines += ["  data_files:", "  - split: train", f"    path: {yaml_text(found.pattern)}"]
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
    said = (
        "Multiple-choice medical questions with reasoning that was judged, ranked and, where many attempts failed, rewritten and "
        "judged again. Each record has `instruction` (contexts, question and lettered options; never the key), `input` (empty) and "
        f"`output`. These sets hold the same records in the same order.\n\n{table}\n"
    )
    further = [(f"`{name}`", FURTHER[name], n["records"]) for name, n in manifest["forms"].items() if name in FURTHER]
    if further:
        said += f"{_table(('Configuration', 'What a record is', 'Records'), further)}\n"
    if "csv" in manifest["forms"]:
        said += "`records.csv` is a table for people: formulas are neutralised, so its texts are not those of the sets to the byte.\n\n"
    return said + (
        f'```python\nfrom datasets import load_dataset\n\nds = load_dataset("path/to/this/folder", "{first}", split="train")\n```\n\n'
        "For LLaMA-Factory, name this folder as `dataset_dir`: `dataset_info.json` describes the sets. `croissant.json` is for programs.\n"
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


def _quality(quality: Mapping[str, Any]) -> str:
    """The judge against clinicians and clinicians among themselves; what is not known is said to be unknown."""
    head = "## How far the labels can be trusted\n\n"
    if not quality["paths"]:
        return (
            f"{head}No clinician has judged paths of this run, so nothing is known about how often its judge is wrong: neither its "
            "sensitivity and specificity nor how far clinicians agree.\n"
        )
    said = f"{head}Clinicians judged {quality['paths']:,} paths of this run ({quality['basis']}).\n\n"
    said += f"The judge against them; positive means Error:\n\n{_figures(quality['judge'])}"
    if quality["divided"]:
        said += f"\nLeft out, because people are divided over them: {quality['divided']:,} paths.\n"
    if quality["agreement"]:
        return f"{said}\nClinicians among themselves:\n\n{_figures(quality['agreement'])}"
    return f"{said}\nHow far clinicians agree: {quality['agreement_not_told']}.\n"


def _figures(figures: Iterable[Mapping[str, Any]]) -> str:
    rows = [(f["name"], f["words"], f["interval"] or "–", f["n"], _cell(f["sentence"])) for f in figures]
    return _table(("Figure", "Value", "95 % interval", "n", "In words"), rows)


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
    lines = [
        "The texts were written by language models. They read like medical reasoning; they are not medical advice.",
        "A path counts as Correct when the effective label says so: a language model's verdict unless clinicians overrode it. "
        f"{manifest['overridden_records']:,} of {manifest['records']:,} records belong to questions on which a person overrode a verdict, set the tier or chose the paths.",
        f"{manifest['signed_off_records']:,} of {manifest['records']:,} records were read and accepted by a person as they stand here.",
        "The judge saw the key. It may forgive reasoning that reaches the key by a wrong way.",
        "Keys and facts are those of the source benchmarks; some are disputed or out of date.",
        f"Exported questions that also stand in a held-out set: {overlap['exact']:,} word for word, {overlap['same_stem']:,} with the "
        "same stem and other options.",
    ]
    if "preferences" in manifest["forms"]:
        lines.append(
            "Pairs: the chosen path may have been rewritten by another model than the one that wrote the rejected path, so the two "
            "can differ in style as well as in truth. `provenance_preferences.jsonl` names the models of both."
        )
    if "steps" in manifest["forms"]:
        lines.append(
            "Steps: `false` means that a clinician marked the sentence; sentences after it may rest on it and still be `true`. In a "
            "path that people call Correct, all are `true`."
        )
    return "## Limitations\n\n" + "".join(f"- {line}\n" for line in lines)


def _citation(manifest: Mapping[str, Any]) -> str:
    return (
        f"## Citation\n\n```bibtex\n{cite_as(manifest)}\n```\n\n`CITATION.cff` holds the same. The method is that of [{METHOD}]({METHOD_URL}); "
        "cite the sources of the questions as well.\n"
    )


def _checking(manifest: Mapping[str, Any]) -> str:
    signed = (
        f"The manifest is signed with the key `{manifest['signed_by']}`; compare that with what the publisher names elsewhere."
        if manifest["signed_by"]
        else "The manifest is not signed: nothing shows who made this export."
    )
    return (
        f"## Checking it\n\nMerkle root over the records (RFC 6962, SHA-256): `{manifest['merkle']['root']}`\n\n{signed}\n\n"
        "```sh\nreasonmed-verify path/to/this/folder        # all of it; --key PUBKEY: and who signed it\n"
        "reasonmed-verify path/to/this/folder --record 0   # and prove one record\n```\n\n"
        "Where there is a `certificate.json`, it says what a sample of these records, judged by people, shows about the share of wrong ones.\n"
    )


def _tracing(manifest: Mapping[str, Any]) -> str:
    own = [f"`provenance_{name}.jsonl`" for name in ("preferences", "steps") if name in manifest["forms"]]
    further = f" The further sets have theirs in {' and '.join(own)}." if own else ""
    return (
        "## Tracing a record\n\n"
        "`provenance.jsonl` has one line for each record, in the same order: question, paths, models, temperatures, prompt hashes, "
        "verdicts and calls, by their ids in the ledger. `manifest.json` has the sha256 of each file, the run's configuration and "
        f"the hashes of its prompts. People stand there under pseudonyms.{further}\n"
    )


def _table(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    heads = list(heads)
    lines = [heads, ["---"] * len(heads), *([f"{c:,}" if isinstance(c, int) else str(c) for c in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(text: str) -> str:
    """Free text on one line that neither ends a table's cell nor starts markup."""
    plain = " ".join(text.split()).replace("\\", "\\\\").replace("<", "&lt;")
    return "".join(f"\\{c}" if c in "|`*[]" else c for c in plain)
