"""Two paths compared with the reasons between them, and one verdict for every path with the same wrong claim."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django.views.decorators.vary import vary_on_headers

from apps.questions.access import CLINICIAN, CONSUMER, CURATOR, role_required
from apps.reasoning.desk import Desk, PathView
from apps.reasoning.models import Label, Verdict
from apps.reasoning.reading import read_path
from apps.reasoning.views.desk import cited_sentences, desk_of
from apps.review.compare import reasons, similar
from apps.review.compare.diff import Row, align, fold
from apps.review.compare.forms import AlikeForm, read_numbers
from apps.review.compare.selectors import Given, reasons_between, same_claim
from apps.review.compare.services import judge_alike, mark_reason, preview_alike
from apps.review.consequences import Consequences
from apps.review.services import AXES, OverrideError, VersionConflict

LOOK_FIRST = "Look at what it changes: it stands below now. Then save."


@role_required(CONSUMER)
@require_safe
def compare(request: HttpRequest, run_id: int, uid: str) -> HttpResponse:
    """`a` before, `b` after; `show=side` sets them in two columns."""
    desk = desk_of(request, run_id, uid)
    a, b = (view_named(desk, request.GET.get(name)) for name in ("a", "b"))
    rows = align(a.path.text, b.path.text)
    given = reasons_between(a, b)
    counts = {kind: sum(row.kind == kind for row in rows) for kind in ("same", "changed", "cut", "add")}
    side = request.GET.get("show") == "side"
    context = {
        "desk": desk,
        "run": desk.run,
        "question": desk.question,
        "a": a,
        "b": b,
        "views": list(desk.views.values()),
        "side": side,
        "counts": counts,
        "rows": [(row, reasons_at(row, given)) for row in fold(rows)],
        "given": given,
        "rule": reasons.RULE,
        "readings": [(view, read_path(view.path.text)) for view in (a, b)] if side else [],
    }
    return render(request, "review/compare.html", context)


@role_required(CLINICIAN, CURATOR)
@require_POST
def settle_reason(request: HttpRequest, run_id: int, uid: str) -> HttpResponse:
    """What became of one reason between two paths: `verdict`, `part`, `a`, `b`, `mark`."""
    assert isinstance(request.user, User)
    desk = desk_of(request, run_id, uid)
    a, b = (view_named(desk, request.POST.get(name)) for name in ("a", "b"))
    found = {v.pk: v for view in (a, b) for v in view.verdicts}
    verdict = found.get(_id(request.POST.get("verdict")))
    part = _id(request.POST.get("part"))
    if verdict is None:
        raise Http404("No such reason between these paths.")
    given = next((g for g in reasons_between(a, b) if (g.verdict.pk, g.part) == (verdict.pk, part)), None)
    try:
        mark_reason(
            verdict=verdict,
            part=part,
            before=a.path,
            after=b.path,
            mark=request.POST.get("mark", ""),
            suggested=given.suggested if given else "",
            by=request.user,
        )
    except OverrideError as error:
        messages.error(request, str(error))
    address = reverse("compare", args=(run_id, uid))
    return redirect(f"{address}?a={a.path.pk}&b={b.path.pk}#reasons")


@role_required(CLINICIAN, CURATOR)
@require_http_methods(["GET", "HEAD", "POST"])
@vary_on_headers("HX-Request")
def alike(request: HttpRequest, run_id: int, uid: str) -> HttpResponse:
    """`path` and its wrong sentences `s` in the address; then the paths that say the same, what an Error verdict on the
    chosen ones changes together (`do=preview`), and the saving of what was shown (`do=save`)."""
    assert isinstance(request.user, User)
    desk = desk_of(request, run_id, uid)
    source = view_named(desk, request.GET.get("path"))
    numbers = read_numbers(request.GET.getlist("s")) or cited_sentences(source)
    found = same_claim(desk, source, numbers)
    said = verdict_to_repeat(source)
    axes = {axis: bool(getattr(said, axis)) for axis in AXES} if said else {"factuality": False}
    data = request.POST if request.method == "POST" else None
    form = AlikeForm(data, found=found, version=desk.row.version, reason=said.reason if said else "", axes=axes)
    if data is None:
        return show_alike(request, desk, source, numbers, form, None)
    valid, change = form.is_valid(), None
    if form.chosen:
        paths = [f.view.path for f in form.chosen]
        change = preview_alike(run=desk.run, paths=paths, reviewer=request.user, label=Label.ERROR)
    if data.get("do") != "save":
        for name in [name for name in form.errors if name != "paths"]:
            del form.errors[name]
        if request.headers.get("HX-Request"):
            context = {"form": form, "change": change, "why_not": "" if change else "Choose at least one path."}
            return render(request, "review/_record_preview.html", context, status=200 if change else 422)
        return show_alike(request, desk, source, numbers, form, change, status=200 if change else 422)
    if not valid or form.cleaned_data["shown"] != form.signature:
        if valid:
            form.add_error(None, LOOK_FIRST)
        return show_alike(request, desk, source, numbers, form, change, status=422)
    return save_alike(request, desk, source, numbers, form, change)


def save_alike(
    request: HttpRequest,
    desk: Desk,
    source: PathView,
    numbers: list[int],
    form: AlikeForm,
    change: Consequences | None,
) -> HttpResponse:
    assert isinstance(request.user, User)
    said = form.cleaned_data
    status = 422
    try:
        saved = judge_alike(
            run=desk.run,
            sentences={f.view.path: f.numbers for f in form.chosen},
            label=Label.ERROR,
            axes={axis: not said[axis] for axis in AXES},
            reason=said["reason"],
            by=request.user,
            idempotency_key=said["idempotency_key"],
            expected_version=said["version"],
        )
    except OverrideError as error:
        form.add_error(error.field if error.field in form.fields else None, str(error))
    except VersionConflict as error:
        status = 409
        fresh = request.POST.copy()
        fresh["version"], fresh["shown"] = str(error.current.version), ""
        form = AlikeForm(fresh, found=form.found, version=error.current.version, axes={})
        form.is_valid()
        form.add_error(None, f"{error} What yours would change now stands below; save it again to do it all the same.")
    else:
        count = len(saved.verdicts)
        messages.success(request, f"Your verdict is saved on {count} path{'s' if count != 1 else ''}. {saved.summary}.")
        return redirect(reverse("run_question", args=(desk.run.pk, desk.question.uid)) + f"?path={source.path.pk}")
    return show_alike(request, desk, source, numbers, form, change, status=status)


def show_alike(
    request: HttpRequest,
    desk: Desk,
    source: PathView,
    numbers: list[int],
    form: AlikeForm,
    change: Consequences | None,
    *,
    status: int = 200,
) -> HttpResponse:
    context = {
        "desk": desk,
        "run": desk.run,
        "row": desk.row,
        "question": desk.question,
        "source": source,
        "numbers": numbers,
        "query": "&".join([f"path={source.path.pk}", *(f"s={n}" for n in numbers)]),
        "form": form,
        "found": form.found,
        "change": change,
        "rule": similar.RULE,
    }
    return render(request, "review/compare_alike.html", context, status=status)


def reasons_at(row: object, given: list[Given]) -> list[Given]:
    """Reasons that point to a sentence of this row."""
    if not isinstance(row, Row):
        return []
    sides = {"before": row.left, "after": row.right}
    return [g for g in given if (s := sides[g.against]) and s.number in g.evidence.numbers]


def verdict_to_repeat(view: PathView) -> Verdict | None:
    """Why the path is wrong, in the words in force: a person's before the judge's."""
    said = [v for v in (*view.people, view.judge) if v and v.label == Label.ERROR]
    return said[0] if said else None


def view_named(desk: Desk, raw: str | None) -> PathView:
    found = desk.views.get(_id(raw))
    if found is None:
        raise Http404("No such path of this question.")
    return found


def _id(raw: str | None) -> int:
    return int(raw) if raw and raw.isascii() and raw.isdigit() and len(raw) < 19 else -1
