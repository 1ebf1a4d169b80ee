"""What the comparison page reads: the reasons given against either path and what became of them."""

from __future__ import annotations

from dataclasses import dataclass

from apps.reasoning.desk import Desk, PathView
from apps.reasoning.models import Label, Verdict, VerdictSource
from apps.review.compare.reasons import Evidence, evidence_of, split_reason, suggest, suggest_new
from apps.review.compare.similar import Match, marked_sentences, similar_sentences
from apps.review.models_records import Mark, ReasonMark

SETTLED = {Mark.FIXED: "Fixed", Mark.PRESENT: "Still there", Mark.NEW: "New"}


@dataclass(frozen=True, slots=True)
class Given:
    """One reason. `against` is before or after; `suggested` follows the rule, `mark` is what a person settled."""

    number: int  # on the page, from 1
    verdict: Verdict
    part: int
    text: str
    against: str
    evidence: Evidence
    suggested: str
    mark: ReasonMark | None

    @property
    def choices(self) -> list[tuple[str, str]]:
        marks = (Mark.FIXED, Mark.PRESENT) if self.against == "before" else (Mark.NEW, Mark.PRESENT)
        return [(mark.value, SETTLED[mark]) for mark in marks]

    @property
    def word(self) -> str:
        """What holds: the person's mark, else the suggestion."""
        return self.mark.mark if self.mark else self.suggested


def reasons_between(before: PathView, after: PathView) -> list[Given]:
    """Reasons of the Error verdicts in force against either path, the earlier path's first; one statement."""
    against = [("before", before, v) for v in _errors(before)] + [("after", after, v) for v in _errors(after)]
    marks = {
        (m.verdict_id, m.part): m
        for m in ReasonMark.objects.filter(
            before=before.path, after=after.path, current=True, verdict__in=[v for _, _, v in against]
        ).select_related("by")
    }
    found: list[Given] = []
    for side, view, verdict in against:
        pointed = [n for n in verdict.details.get("sentences", ()) if isinstance(n, int)]
        for part, text in enumerate(split_reason(verdict.reason)):
            evidence = evidence_of(text, path=view.path.text, pointed=pointed)
            other = after if side == "before" else before
            rule = suggest if side == "before" else suggest_new
            mark = marks.get((verdict.pk, part))
            found.append(
                Given(len(found) + 1, verdict, part, text, side, evidence, rule(evidence, other.path.text), mark)
            )
    return found


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A path that makes the claim, with the sentences that do."""

    view: PathView
    matches: tuple[Match, ...]

    @property
    def numbers(self) -> list[int]:
        return [m.number for m in self.matches]


def same_claim(desk: Desk, source: PathView, numbers: list[int]) -> list[Elsewhere]:
    """The path itself first, then the current others that say the same as one of its sentences, in grid order."""
    marked = marked_sentences(source.path.text, numbers)
    own = tuple(Match(n, text, n, 1.0) for n, text in marked.items())
    if not own:
        return []
    others = [
        Elsewhere(view, tuple(matches))
        for view in desk.views.values()
        if view is not source and view.path.current and (matches := similar_sentences(marked, view.path.text))
    ]
    return [Elsewhere(source, own), *others]


def _errors(view: PathView) -> list[Verdict]:
    """Verdicts in force that say Error and why: the judge's and people's, also those that only measure."""
    current = [v for v in view.verdicts if v.current and v.label == Label.ERROR and v.reason.strip()]
    return sorted(current, key=lambda v: (v.source == VerdictSource.JUDGE, v.pk))
