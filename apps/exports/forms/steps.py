"""Labelled steps: paths that people judged, sentence by sentence, with the sentences they marked as wrong."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from apps.exports.forms.evidence import Evidence
from apps.exports.forms.pairs import BY_PEOPLE
from apps.exports.forms.texts import Marked, Steps, make_steps
from apps.exports.lineage import Asked
from apps.questions.text import join_question
from apps.reasoning.models import Label, PathLabel, ReasoningPath, Run, Verdict, VerdictSource
from apps.reasoning.sentences import SPLITTER_VERSION


@dataclass(frozen=True, slots=True)
class MadeSteps:
    asked: Asked
    place: int  # of the path among those of its question, from 1
    path: ReasoningPath
    label: str
    steps: Steps

    @property
    def wrong(self) -> list[int]:
        """Numbers of the sentences marked, from 1."""
        return [number for number, sound in enumerate(self.steps["labels"], 1) if not sound]


def steps_of(run: Run, page: Sequence[Asked]) -> list[MadeSteps]:
    """Of the page's exported questions, every path whose effective label is a person's: all sentences sound where it is
    Correct, the marked ones wrong where it is an Error. Errors on which nobody marked a sentence are left out."""
    by_question = _judged_by_people(run, page)
    marked = _marks(run, [path for paths in by_question.values() for path, _ in paths])
    made = []
    for asked in page:
        place = 0
        question = asked.question
        prompt = join_question(question.contexts, question.stem, question.options)
        for path, label in by_question[question.pk]:
            said = Marked(correct=label == Label.CORRECT, wrong=marked[path.pk])
            if steps := make_steps(prompt=prompt, text=path.text, marked=said):
                place += 1
                made.append(MadeSteps(asked, place, path, label, steps))
    return made


def step_lines(run: Run, made: Sequence[MadeSteps]) -> Iterator[dict[str, Any]]:
    """Where each path comes from; its number comes before it."""
    evidence = Evidence(run, [m.path for m in made])
    for m in made:
        question = m.asked.question
        stages = evidence.simulated_stages(m.path).union(*(kept.simulated_stages for kept in m.asked.kept))
        yield {
            "question": question.uid,
            "slot": m.place,
            "benchmark": question.benchmark.slug,
            "split": question.split,
            "held_out": question.held_out,
            "tier": m.asked.row.tier,
            "path": evidence.path_line(m.path),
            "label": m.label,
            "splitter": SPLITTER_VERSION,
            "wrong": m.wrong,
            "verdicts": evidence.verdict_lines(m.path),
            "simulated": sorted(stages),
        }


def _judged_by_people(run: Run, page: Sequence[Asked]) -> defaultdict[int, list[tuple[ReasoningPath, str]]]:
    """By question, in the order of the paths' ids."""
    decided = PathLabel.objects.filter(
        run=run,
        question_id__in=[a.question.pk for a in page],
        source__in=BY_PEOPLE,
        label__in=(Label.CORRECT, Label.ERROR),
        disputed=False,
    )
    labels = dict(decided.values_list("path_id", "label"))
    found: defaultdict[int, list[tuple[ReasoningPath, str]]] = defaultdict(list)
    for path in ReasoningPath.objects.filter(pk__in=labels).defer("raw").order_by("id"):
        found[path.question_id].append((path, labels[path.pk]))
    return found


def _marks(run: Run, paths: Sequence[ReasoningPath]) -> defaultdict[int, set[int]]:
    """The sentences marked by those who call the path an Error; by the adjudicator alone where they marked any."""
    verdicts = Verdict.objects.filter(
        path_id__in=[p.pk for p in paths],
        project=run.project_id,
        source__in=BY_PEOPLE,
        label=Label.ERROR,
        counts=True,
        current=True,
        details__splitter=SPLITTER_VERSION,
    )
    people: defaultdict[int, set[int]] = defaultdict(set)
    settled: defaultdict[int, set[int]] = defaultdict(set)
    for path, source, numbers in verdicts.values_list("path_id", "source", "details__sentences"):
        (settled if source == VerdictSource.ADJUDICATION else people)[path].update(numbers or ())
    return defaultdict(set, people | settled)
