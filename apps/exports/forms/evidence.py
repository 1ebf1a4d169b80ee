"""What stands behind the paths of the further sets, read a page at a time, and how their provenance tells it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Protocol

from django.db.models import Q

from apps.exports.provenance import pseudonym
from apps.pipeline.models import Call
from apps.reasoning.models import Label, ReasoningPath, Run, Verdict, VerdictSource


class PathFacts(Protocol):
    """What of a path is told: `ReasoningPath` has it, and so has what the builder reads of a record's path."""

    @property
    def pk(self) -> int: ...
    @property
    def origin(self) -> str: ...
    @property
    def generator(self) -> str: ...
    @property
    def sample(self) -> int: ...
    @property
    def revision(self) -> int: ...
    @property
    def model(self) -> str: ...
    @property
    def temperature(self) -> float | None: ...
    @property
    def seed(self) -> int | None: ...
    @property
    def call_id(self) -> Any: ...


class Evidence:
    """The verdicts on some paths that count in the run, and the calls behind paths and verdicts. In two statements."""

    def __init__(self, run: Run, paths: Sequence[ReasoningPath]) -> None:
        judged = Q(source=VerdictSource.JUDGE, run=run)
        said = ~Q(source=VerdictSource.JUDGE) & ~Q(label=Label.UNJUDGED) & Q(project=run.project_id, counts=True)
        verdicts = Verdict.objects.filter(judged | said, path_id__in=[p.pk for p in paths], current=True)
        self.verdicts: defaultdict[int, list[Verdict]] = defaultdict(list)
        for verdict in verdicts.defer("reason").order_by("id"):
            self.verdicts[verdict.path_id].append(verdict)
        owners: list[Any] = [*paths, *(v for found in self.verdicts.values() for v in found)]
        calls = Call.objects.filter(pk__in={o.call_id for o in owners if o.call_id})
        self.calls = {str(call.pk): call for call in calls.only("stage", "prompt", "simulated")}

    def simulated_stages(self, path: ReasoningPath) -> set[str]:
        """Stages with a simulated call that wrote or judged the path."""
        owners: list[Any] = [path, *self.verdicts[path.pk]]
        calls = [self.calls[str(o.call_id)] for o in owners if str(o.call_id) in self.calls]
        return {call.stage for call in calls if call.simulated}

    def path_line(self, path: ReasoningPath) -> dict[str, Any]:
        return path_line(path, self._prompt(path))

    def verdict_lines(self, path: ReasoningPath) -> list[dict[str, Any]]:
        return [
            {
                "id": v.pk,
                "label": v.label,
                "source": v.source,
                "by": pseudonym(v.reviewer_id) if v.reviewer_id else None,
                "call": str(v.call_id) if v.call_id else None,
                "prompt": self._prompt(v),
            }
            for v in self.verdicts[path.pk]
        ]

    def _prompt(self, owner: Any) -> str | None:
        call = self.calls.get(str(owner.call_id))
        return call.prompt if call else None


def path_line(path: PathFacts, prompt: str | None) -> dict[str, Any]:
    """As `provenance.jsonl` tells a path."""
    return {
        "id": path.pk,
        "origin": path.origin,
        "generator": path.generator,
        "sample": path.sample,
        "revision": path.revision,
        "model": path.model,
        "temperature": path.temperature,
        "seed": path.seed,
        "call": str(path.call_id) if path.call_id else None,
        "prompt": prompt,
    }
