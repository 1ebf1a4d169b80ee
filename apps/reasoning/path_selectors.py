"""Finding paths: what the filters of the Paths page mean, and its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from django.db.models import F, Q, QuerySet, Subquery, Value
from django.db.models.functions import Substr

from apps.questions.models import LETTERS
from apps.reasoning.layout import Layout
from apps.reasoning.models import Label, Origin, PathLabel, ReasoningPath, Run, Verdict, VerdictSource

MARKS = ("off_key", "no_answer", "truncated", "overridden", "disputed", "contradiction")


@dataclass(frozen=True, slots=True)
class PathFilter:
    """As the address says it; empty means any. A value that means nothing is dropped, never an error."""

    run: str = ""
    generator: str = ""
    temperature: str = ""
    label: str = ""
    origin: str = ""
    reason: str = ""  # words of the judge's reason
    off_key: str = ""
    no_answer: str = ""
    truncated: str = ""
    overridden: str = ""
    disputed: str = ""
    contradiction: str = ""

    @classmethod
    def read(cls, params: Mapping[str, str]) -> PathFilter:
        said = {f.name: params.get(f.name, "").replace("\x00", "").strip()[:300] for f in fields(cls)}
        for name, allowed in (("label", Label.values), ("origin", Origin.values)):
            if said[name] not in allowed:
                said[name] = ""
        if said["temperature"] and _number(said["temperature"]) is None:
            said["temperature"] = ""
        for name in MARKS:
            said[name] = "1" if said[name] else ""
        return cls(**said)

    def params(self, **changes: str) -> dict[str, str]:
        said = {f.name: getattr(self, f.name) for f in fields(self)} | changes
        return {name: value for name, value in said.items() if value}

    def said(self) -> list[tuple[str, str]]:
        """(parameter, words) of every filter that is set, the run apart."""
        words = {
            "generator": f"Generator: {self.generator}",
            "temperature": f"T {self.temperature}",
            "label": f"Label: {self.label}",
            "origin": f"Origin: {self.origin}",
            "reason": f"Reason says “{self.reason}”",
            "off_key": "Answer is not the key",
            "no_answer": "No answer stated",
            "truncated": "Cut off",
            "overridden": "Overridden",
            "disputed": "Disputed",
            "contradiction": "Contradiction",
        }
        return [(name, word) for name, word in words.items() if getattr(self, name)]


def search_paths(run: Run, wanted: PathFilter) -> QuerySet[PathLabel]:
    """The labelled paths of a run that match; the paths' texts are not read."""
    rows = PathLabel.objects.filter(run=run).select_related("path__question__benchmark")
    rows = rows.defer("path__raw", "path__question__search", "path__question__explanation", "path__question__meta")
    simple = {
        "path__generator": wanted.generator,
        "path__temperature": _number(wanted.temperature),
        "label": wanted.label,
        "path__origin": wanted.origin,
        "path__finish_reason": "length" if wanted.truncated else "",
        "overridden": bool(wanted.overridden),
        "disputed": bool(wanted.disputed),
        "contradiction": bool(wanted.contradiction),
    }
    rows = rows.filter(**{name: value for name, value in simple.items() if value})
    if wanted.origin in (Origin.REFINED, Origin.REGENERATED):
        rows = _from_first_rewritten(rows, run, wanted.origin)
    if wanted.no_answer:
        rows = rows.filter(path__answer="")
    if wanted.no_answer or wanted.truncated:  # what is so anyway, said because the indexes of rare paths begin with it
        rows = rows.filter(path__run__in={run.pk, run.paths_run_id})
    if wanted.off_key:
        key = Substr(Value(LETTERS), F("question__key") + 1, 1)
        rows = rows.exclude(path__answer="").exclude(path__answer=key)
        if wanted.label == Label.CORRECT:  # what is then so anyway, said because indexes know it
            rows = rows.filter(Q(contradiction=True) | Q(overridden=True))
    if wanted.reason:
        rows = rows.extra(tables=["reasoning_verdict"], where=[_SAYING], params=[run.pk, wanted.reason])  # noqa: S610
    return rows


def twins_of(wanted: PathFilter) -> tuple[str, ...]:
    """Columns that are equal to path_id in what `search_paths` gives, for `read_page`."""
    return ("reasoning_reasoningpath.id", *(("reasoning_verdict.path_id",) if wanted.reason else ()))


def _from_first_rewritten(rows: QuerySet[PathLabel], run: Run, origin: str) -> QuerySet[PathLabel]:
    """Says what is so anyway, for the planner: such paths are the run's own, and none comes before the first of them
    (in a merge of both tables, a million labels of generated paths do)."""
    made = ReasoningPath.objects.filter(run=run, origin=origin)
    first = made.order_by("pk").values("pk")[:1]
    return rows.filter(path__run=run, path_id__gte=Subquery(first))


def judge_reasons(run: Run, labels: list[PathLabel]) -> dict[int, str]:
    """{path id: what the run's judge says of it now}, for one page."""
    verdicts = Verdict.objects.filter(
        run=run, path__in=[row.path_id for row in labels], source=VerdictSource.JUDGE, current=True
    )
    return dict(verdicts.values_list("path_id", "reason"))


def temperatures(layout: Layout) -> list[str]:
    return [str(value) for value in layout.temperatures]


# A judge has one current verdict of a path: the join adds no rows.
_SAYING = """
reasoning_verdict.path_id = reasoning_pathlabel.path_id AND reasoning_verdict.run_id = %s
AND reasoning_verdict.source = 'judge' AND reasoning_verdict.current
AND reasoning_verdict.reason_words @@ websearch_to_tsquery('english', %s)"""


def _number(raw: str) -> float | None:
    try:
        value = float(raw)
    except ValueError:
        return None
    return value if 0 < value <= 2 else None
