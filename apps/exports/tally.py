"""What an export counts while it streams: every question once, every record once. Small whatever the run's size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connection

from apps.exports.lineage import Asked, Kept
from apps.exports.records import Variant
from apps.exports.rows import CallKind, QuestionRow
from apps.exports.writers import FileEntry, Format
from apps.reasoning.models import QuestionState, Run, Tier
from apps.review.records.signoff import SignOff, sign_offs

HELD_OUT = "held_out"  # why a ready question stays: it is held out and the run does not allow that
WRITING_STAGES = ("generate", "refine", "regenerate", "summarise", "import")  # whose texts leave
STAGES = ("import", "generate", "verify", "rank", "refine", "regenerate", "reverify", "summarise")
NO_TERMS = "not recorded"
_HELD_OUT = """
SELECT q.fingerprint, q.stem_fingerprint FROM questions_question q JOIN questions_benchmark b ON b.id = q.benchmark_id
WHERE q.held_out AND (b.project_id IS NULL OR b.project_id = %(project)s)
  AND (q.fingerprint = ANY(string_to_array(%(whole)s, ',')) OR q.stem_fingerprint = ANY(string_to_array(%(stems)s, ',')))"""


class Tally:
    def __init__(self, run: Run) -> None:
        self.run = run
        self.questions = self.exported = self.records = self.held_out_records = 0
        self.people_overrode = (
            0  # records of questions on which a person overrode a judge, set the tier or chose the paths
        )
        self.signed_off: Counter[str] = Counter()  # tier → records a person accepted as they leave
        self.left_out = 0  # records a person excluded, of exported questions
        self.excluded: Counter[str] = Counter()
        self.waiting: Counter[str] = Counter()
        self.simulated = 0
        self.simulated_by_stage: Counter[str] = Counter()
        self.tiers: Counter[tuple[str, str]] = Counter()  # (tier, "questions" | "records")
        self.composition: dict[tuple[str, str], Counter[str]] = {}  # (benchmark, split) → questions, exported, records
        self.licences: dict[str, str] = {}
        self.models: Counter[tuple[str, str, str]] = Counter()  # (stage, model, terms) → records
        self.overlap: Counter[str] = Counter()
        self._kinds: Counter[tuple[frozenset[CallKind], str | None]] = Counter()  # records, not yet in `models`
        runs = [run, run.paths_from] if run.paths_from else [run]
        self._terms = {
            (r.pk, e["name"]): e.get("terms") or NO_TERMS for r in runs for e in r.config.get("endpoints", ())
        }

    def _count_models(self) -> None:
        """Records come with few sets of kinds of calls."""
        for (kinds, imported), records in self._kinds.items():
            authors = {self._author(kind) for kind in kinds}
            if imported is not None:
                authors.add(("import", imported, NO_TERMS))
            for author in authors:
                self.models[author] += records
        self._kinds.clear()

    def taken(self) -> dict[str, Any]:
        """What was counted, for the `add` of another; this one begins anew."""
        self._count_models()
        sums = {name: value for name, value in vars(self).items() if name not in ("run", "_terms", "_kinds")}
        vars(self).update({name: type(value)() for name, value in sums.items()})
        return sums

    def add(self, sums: Mapping[str, Any]) -> None:
        for name, value in sums.items():
            mine = getattr(self, name)
            if isinstance(value, int):
                setattr(self, name, mine + value)
            elif name == "composition":
                for key, counts in value.items():
                    mine.setdefault(key, Counter()).update(counts)
            else:
                mine.update(value)

    def state_of(self, asked: Asked) -> tuple[str, str]:
        """The question's state and reason in this export: a held-out one stays unless the run allows it."""
        row = asked.row
        if row.state == QuestionState.READY and asked.question.held_out and not self.run.allow_held_out:
            return QuestionState.EXCLUDED, HELD_OUT
        return row.state, row.reason

    def count_question(self, asked: Asked, state: str, reason: str) -> None:
        benchmark = asked.question.benchmark
        self.questions += 1
        self.licences[benchmark.name] = benchmark.licence
        row = self.composition.setdefault((benchmark.name, asked.question.split), Counter())
        row["questions"] += 1
        if state == QuestionState.READY:
            self.exported += 1
            self.left_out += asked.left_out
            row["exported"] += 1
            self.tiers[asked.row.tier, "questions"] += 1
        else:
            (self.excluded if state == QuestionState.EXCLUDED else self.waiting)[reason] += 1

    def count_records(self, asked: Asked) -> None:
        """All that an exported question keeps."""
        records = len(asked.kept)
        self.records += records
        self.held_out_records += records * asked.question.held_out
        self.people_overrode += records * asked.row.overridden
        self.tiers[asked.row.tier, "records"] += records
        self.composition[asked.question.benchmark.name, asked.question.split]["records"] += records
        for kept in asked.kept:
            self._count_record(asked, kept)

    def _count_record(self, asked: Asked, kept: Kept) -> None:
        if kept.signed_by is not None:
            self.signed_off[asked.row.tier] += 1
        if kept.simulated_stages:
            self.simulated += 1
            for stage in kept.simulated_stages:
                self.simulated_by_stage[stage] += 1
        origin = kept.source or kept.path
        imported = (origin.model or origin.generator) if origin.call_id is None else None
        self._kinds[frozenset(kept.calls.values()), imported] += 1

    def count_overlap(self, exported: Sequence[QuestionRow]) -> None:
        """Questions that also stand in a held-out set, whole or by their stem alone (contamination)."""
        trained = [q for q in exported if not q.held_out]
        with connection.cursor() as cursor:
            cursor.execute(
                _HELD_OUT,
                {
                    "project": self.run.project_id,
                    "whole": ",".join(q.fingerprint for q in trained),
                    "stems": ",".join(q.stem_fingerprint for q in trained),
                },
            )
            found = cursor.fetchall()
        exact, stem = {whole for whole, _ in found}, {stem for _, stem in found}
        self.overlap["exact"] += sum(q.fingerprint in exact for q in trained)
        self.overlap["same_stem"] += sum(q.stem_fingerprint in stem and q.fingerprint not in exact for q in trained)

    def _author(self, kind: CallKind) -> tuple[str, str, str]:
        """(stage, model, terms of the model's output)"""
        return kind.stage, kind.model, self._terms.get((kind.run_id, kind.endpoint), NO_TERMS)

    @property
    def sign_offs(self) -> list[SignOff]:
        records = {tier: self.tiers[tier, "records"] for tier in Tier.values}
        return sign_offs(self.run.config.get("sign_off") or {}, records=records, signed=self.signed_off)

    @property
    def warnings(self) -> list[str]:
        found = []
        if self.simulated:
            found.append(f"{self.simulated:,} of {self.records:,} records rest on simulated model calls")
        writing = {(model, terms) for stage, model, terms in self.models if stage in WRITING_STAGES}
        if unknown := sorted({model for model, terms in writing if terms == NO_TERMS}):
            found.append(f"no terms of use are recorded for the output of {', '.join(unknown)}")
        if len(known := {terms for _, terms in writing} - {NO_TERMS}) > 1:
            found.append(
                f"records come under {len(known)} different terms of use; all of them apply to the set as a whole"
            )
        if self.overlap.total():
            found.append(f"{self.overlap.total():,} exported questions also stand in a held-out set")
        return found


def manifest_of(
    tally: Tally,
    *,
    schema: str,
    variants: Sequence[Variant],
    format: Format,
    files: Sequence[FileEntry],
    card: FileEntry | None,
) -> dict[str, Any]:
    """`records` counts one set; the sets hold the same records in the same order. No times, no ids of the build."""
    run = tally.run
    return {
        "schema": schema,
        "run": run.name,
        "variants": list(variants),
        "format": format,
        "records": tally.records,
        "files": list(files),
        "card": card,
        "questions": {
            "total": tally.questions,
            "exported": tally.exported,
            "excluded": tally.excluded.total(),
            "waiting": tally.waiting.total(),
        },
        "excluded": dict(sorted(tally.excluded.items())),
        "waiting": dict(sorted(tally.waiting.items())),
        "tiers": {t: {k: tally.tiers[t, k] for k in ("questions", "records")} for t in Tier.values},
        "composition": [
            {"benchmark": benchmark, "split": split, **{k: row[k] for k in ("questions", "exported", "records")}}
            for (benchmark, split), row in sorted(tally.composition.items())
        ],
        "simulated": tally.simulated > 0,
        "simulated_records": tally.simulated,
        "simulated_by_stage": dict(sorted(tally.simulated_by_stage.items())),
        "held_out": run.allow_held_out,
        "held_out_records": tally.held_out_records,
        "held_out_overlap": {k: tally.overlap[k] for k in ("exact", "same_stem")},
        "overridden_records": tally.people_overrode,
        "signed_off_records": tally.signed_off.total(),
        "sign_off": {
            s.tier: {"required": s.share, "records": s.records, "signed_off": s.signed} for s in tally.sign_offs
        },
        "records_excluded_by_people": tally.left_out,
        "models": [
            {"stage": stage, "model": model, "terms": terms, "records": n}
            for (stage, model, terms), n in sorted(tally.models.items(), key=_by_stage)
        ],
        "warnings": tally.warnings,
        "prompts": dict(sorted(run.config.get("prompts", {}).items())),
        "configuration": public_configuration(run),
        "configuration_sha256": run.config_hash,
        "paths_from": _paths_from(run),
    }


def _by_stage(item: tuple[tuple[str, str, str], int]) -> tuple[int, tuple[str, str, str]]:
    """In the order of the pipeline."""
    stage = item[0][0]
    return (STAGES.index(stage) if stage in STAGES else len(STAGES)), item[0]


def public_configuration(run: Run) -> dict[str, Any]:
    """The run's configuration without where its servers stand and which variables hold their keys."""
    endpoints = [
        {k: v for k, v in endpoint.items() if k not in ("base_url", "api_key_env")}
        | {"simulated": endpoint.get("base_url") == "simulated"}
        for endpoint in run.config.get("endpoints", ())
    ]
    return {**run.config, "endpoints": endpoints}


def _paths_from(run: Run) -> dict[str, Any] | None:
    if run.paths_from is None:
        return None
    other = run.paths_from
    return {"run": other.name, "configuration": public_configuration(other), "configuration_sha256": other.config_hash}
