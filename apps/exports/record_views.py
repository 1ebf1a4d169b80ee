"""The record page: what will leave for one kept path, made by the function that writes exports, and its lineage."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from apps.exports.records import TITLES, VARIANTS, make_record
from apps.pipeline.models import Call
from apps.questions.access import CONSUMER, role_required
from apps.reasoning.desk import Desk, PathView
from apps.reasoning.models import Response, Selection, Verdict, VerdictSource
from apps.reasoning.text import split_stem
from apps.reasoning.views.desk import desk_of
from apps.review.models_records import RecordDecision
from apps.review.records.decisions import Record
from apps.review.screen.settings import settings_of


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the lineage, latest first. `call` names the prompt it was made with."""

    title: str
    when: datetime
    said: str = ""
    label: str = ""
    call: Call | None = None
    path_id: int | None = None


@role_required(CONSUMER)
@require_safe
def record(request: HttpRequest, run_id: int, uid: str, slot: int) -> HttpResponse:
    """`set` in the address chooses the variant; a record that waits is shown with the reason it waits for."""
    desk = desk_of(request, run_id, uid)
    selection = next((s for s in desk.selections if s.slot == slot and s.path_id in desk.views), None)
    if selection is None:
        raise Http404("This question keeps no such record.")
    view = desk.views[selection.path_id or 0]
    response = view.response
    chosen = next((v for v in VARIANTS if v == request.GET.get("set")), VARIANTS[0])
    made = response and view.path.text.strip() and response.text.strip()
    text = (
        make_record(chosen, question=desk.question, cot=view.path.text, response=response.text)
        if made and response
        else None
    )
    decision = RecordDecision.objects.filter(run=desk.run, path=view.path, current=True).select_related("by").first()
    lineage = steps(desk, selection, view, response)
    assert isinstance(request.user, User)
    context = {
        "desk": desk,
        "run": desk.run,
        "row": desk.row,
        "question": desk.question,
        "stem": split_stem(desk.question.stem),
        "selection": selection,
        "view": view,
        "response": response,
        "record": text,
        "decided": Record(desk.run, desk.question, selection, view.path, response, decision),
        "key": uuid4(),
        "settings": settings_of(request.user),
        "previous_record": neighbour(desk, slot, back=True),
        "next_record": neighbour(desk, slot),
        "json": json.dumps(text, ensure_ascii=False, indent=1) if text else "",
        "variant": chosen,
        "variants": [(v, TITLES[v]) for v in VARIANTS],
        "lineage": lineage,
        "simulated": sorted({step.call.stage for step in lineage if step.call and step.call.simulated}),
    }
    return render(request, "exports/record.html", context)


def neighbour(desk: Desk, slot: int, *, back: bool = False) -> str:
    """The address of the record behind this one (or before it) in the run, by question and slot; "" at the end."""
    here = [s.slot for s in desk.selections if s.path_id and (s.slot < slot if back else s.slot > slot)]
    if here:
        return reverse("record", args=(desk.run.pk, desk.question.uid, max(here) if back else min(here)))
    kept = Selection.objects.filter(run=desk.run, current=True, path__isnull=False)
    place = desk.question.pk
    others = kept.filter(question_id__lt=place) if back else kept.filter(question_id__gt=place)
    order = ("-question_id", "-slot") if back else ("question_id", "slot")
    found = others.order_by(*order).values_list("question__uid", "slot").first()
    return reverse("record", args=(desk.run.pk, *found)) if found else ""


def steps(desk: Desk, selection: Selection, view: PathView, response: Response | None) -> list[Step]:
    """Response, verdicts, rewriting, score, verdicts of the source, the source itself; latest first."""
    found: list[Step] = []
    if response:
        said = f"answers {response.answer or 'nothing'}; the key is {desk.question.key_letter}"
        call = desk.calls.get(response.call_id)
        found.append(Step(f"Response, revision {response.revision}", response.created_at, said, call=call))
    chain = [view] if view.parent is None else [view, view.parent]
    for member in chain:
        found += [
            verdict_step(desk, verdict, rewritten=member.parent is not None) for verdict in reversed(member.verdicts)
        ]
        if member.score:
            score = member.score
            call = desk.calls.get(score.call_id)
            found.append(Step(f"Scored {score.score} of 5", score.created_at, score.justification, call=call))
        path = member.path
        said = ", ".join(filter(None, (path.model, f"T {path.temperature}" if path.temperature is not None else "")))
        call = desk.calls.get(path.call_id)
        found.append(Step(member.name, path.created_at, said, call=call, path_id=path.pk))
    return found


def verdict_step(desk: Desk, verdict: Verdict, *, rewritten: bool) -> Step:
    if verdict.source == VerdictSource.JUDGE:
        title = f"{'Re-verified' if rewritten else 'Judged'}, round {verdict.round}"
    else:
        reviewer = verdict.reviewer
        title = f"Judged by {(reviewer.get_full_name() or reviewer.get_username()) if reviewer else 'a person'}"
    title += "" if verdict.current else " (replaced)"
    return Step(title, verdict.created_at, verdict.reason, verdict.label, desk.calls.get(verdict.call_id))
