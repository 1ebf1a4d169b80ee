"""Pairs: a record's reasoning against a path of the same question that is an Error by its effective label."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apps.exports.config import Labels
from apps.exports.forms.evidence import Evidence, path_line
from apps.exports.forms.texts import Pair, make_pair
from apps.exports.lineage import Asked, Kept
from apps.questions.text import join_question
from apps.reasoning.models import BASE_ORIGINS, Label, PathLabel, ReasoningPath, Run, VerdictSource

BY_PEOPLE = (VerdictSource.PERSON, VerdictSource.ADJUDICATION)
CUT_OFF = "length"


@dataclass(frozen=True, slots=True)
class MadePair:
    asked: Asked
    kept: Kept
    rejected: ReasoningPath
    by: str  # whose word makes it an Error
    pair: Pair


def pairs_of(run: Run, labels: Labels, page: Sequence[Asked]) -> list[MadePair]:
    """At most one for each record, in the order of the records. `page`: exported questions with what they keep."""
    errors = _errors(run, labels, page)
    wanted = [(asked, kept, path, by) for asked in page for kept, path, by in _choose(asked, errors[asked.question.pk])]
    texts = dict(ReasoningPath.objects.filter(pk__in=[p.pk for _, _, p, _ in wanted]).values_list("pk", "text"))
    made = []
    for asked, kept, path, by in wanted:
        question = asked.question
        prompt = join_question(question.contexts, question.stem, question.options)
        if pair := make_pair(prompt=prompt, chosen=kept.path.text, rejected=texts[path.pk]):
            made.append(MadePair(asked, kept, path, by, pair))
    return made


def pair_lines(run: Run, made: Sequence[MadePair]) -> Iterator[dict[str, Any]]:
    """Where each pair comes from; its number comes before it."""
    evidence = Evidence(run, [m.rejected for m in made])
    for m in made:
        question = m.asked.question
        yield {
            "question": question.uid,
            "slot": m.kept.slot,
            "benchmark": question.benchmark.slug,
            "split": question.split,
            "held_out": question.held_out,
            "tier": m.asked.row.tier,
            "chosen": path_line(m.kept.path, _prompt_of(m.kept)),
            "rejected": evidence.path_line(m.rejected),
            "rejected_by": m.by,
            "verdicts": evidence.verdict_lines(m.rejected),
            "simulated": m.kept.simulated_stages,
        }


def _prompt_of(kept: Kept) -> str | None:
    return kept.calls[kept.path.call_id].prompt if kept.path.call_id else None


def _errors(run: Run, labels: Labels, page: Sequence[Asked]) -> Mapping[int, list[tuple[ReasoningPath, str]]]:
    """By question, its paths as first written that are Errors and were not cut off, with whose word says so."""
    asked = {a.question.pk for a in page}
    found = PathLabel.objects.filter(run=run, question_id__in=asked, label=Label.ERROR, disputed=False)
    if labels == "clinician":
        found = found.filter(source__in=BY_PEOPLE)
    by = dict(found.values_list("path_id", "source"))
    paths = ReasoningPath.objects.filter(pk__in=by, origin__in=BASE_ORIGINS, current=True)
    errors: defaultdict[int, list[tuple[ReasoningPath, str]]] = defaultdict(list)
    for path in paths.exclude(finish_reason=CUT_OFF).defer("text", "raw"):
        errors[path.question_id].append((path, by[path.pk]))
    return errors


def _choose(asked: Asked, errors: Sequence[tuple[ReasoningPath, str]]) -> Iterator[tuple[Kept, ReasoningPath, str]]:
    """Each record gets another path: of its own generator first, so that the two differ in more than style; then one
    that people judged; the rest by a hash, so that no sample and no generator comes first everywhere."""
    left = list(errors)
    for kept in asked.kept:
        if not left:
            return

        def rank(error: tuple[ReasoningPath, str], kept: Kept = kept) -> tuple[bool, bool, bytes]:
            path, by = error
            name = f"{asked.question.uid}\n{path.generator}\n{path.sample}"
            return path.generator != kept.path.generator, by not in BY_PEOPLE, hashlib.sha256(name.encode()).digest()

        chosen = min(left, key=rank)
        left.remove(chosen)
        yield kept, *chosen
