"""Pages on which people change what leaves: consequences first, then saved."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST
from django.views.decorators.vary import vary_on_headers

from apps.questions.access import CLINICIAN, CURATOR, role_required
from apps.reasoning.desk import Desk
from apps.reasoning.views.desk import desk_of
from apps.review.consequences import Consequences
from apps.review.records.decisions import Record, accept_record, read_record
from apps.review.records.forms import FORMS, ChangeForm
from apps.review.services import OverrideError, VersionConflict

LOOK_FIRST = "Look at what it changes: it stands below now. Then save."


@role_required(CLINICIAN, CURATOR)
@require_http_methods(["GET", "HEAD", "POST"])
@vary_on_headers("HX-Request")
def change(request: HttpRequest, run_id: int, uid: str, kind: str) -> HttpResponse:
    """`slot` in the address names the record. `do=preview` shows what would follow (for htmx that alone), `do=save` saves
    what was shown. Refused: 422; the question changed meanwhile: 409."""
    assert isinstance(request.user, User)
    desk = desk_of(request, run_id, uid)
    record = read_record(desk.run, desk.question, _slot(request))
    if FORMS[kind].with_record and record is None:
        raise Http404("This question keeps no such record.")
    if request.method != "POST":
        form = FORMS[kind](desk=desk, record=record, by=request.user)
        return show(request, form, *look(form))
    form = FORMS[kind](request.POST, desk=desk, record=record, by=request.user)
    if request.POST.get("do") == "save":
        return save(request, form)
    form.is_valid()
    found, why_not = look(form)
    for name in [name for name in form.errors if name not in form.fields_about]:
        del form.errors[name]
    if request.headers.get("HX-Request"):
        context = {"form": form, "change": found, "why_not": why_not}
        return render(request, "review/_record_preview.html", context, status=200 if found else 422)
    return show(request, form, found, why_not, status=200 if found else 422)


def save(request: HttpRequest, form: ChangeForm) -> HttpResponse:
    valid, (found, why_not) = form.is_valid(), look(form)
    status = 422
    if valid and found and form.cleaned_data["shown"] != form.signature:
        form.add_error(None, LOOK_FIRST)
    elif valid and found:
        try:
            saved = form.save()
        except OverrideError as error:
            form.add_error(error.field if error.field in form.fields else None, str(error))
        except VersionConflict as error:
            status = 409
            fresh = {"version": str(error.current.version), "shown": ""}
            form = type(form)(request.POST.dict() | fresh, desk=form.desk, record=form.record, by=form.by)
            form.is_valid()
            form.add_error(
                None, f"{error} What yours would change now stands below; save it again to do it all the same."
            )
        else:
            messages.success(request, f"Saved. {saved.summary}.")
            return redirect(
                back_to(
                    form.desk, form.record and read_record(form.desk.run, form.desk.question, form.slot), form.record
                )
            )
    return show(request, form, found, why_not, status=status)


def look(form: ChangeForm) -> tuple[Consequences | None, str]:
    """What follows from the form as it is, or why that cannot be said."""
    if not form.previewable:
        return None, ""
    try:
        return form.preview(), ""
    except OverrideError as error:
        if error.field in form.fields and form.is_bound:
            form.add_error(error.field, str(error))
        return None, str(error)


def show(
    request: HttpRequest, form: ChangeForm, found: Consequences | None, why_not: str, *, status: int = 200
) -> HttpResponse:
    desk, record = form.desk, form.record
    context = {
        "form": form,
        "change": found,
        "why_not": why_not,
        "desk": desk,
        "run": desk.run,
        "row": desk.row,
        "question": desk.question,
        "record": record,
        "choices": [desk.views[pk] for pk in getattr(form, "allowed", ()) if pk in desk.views],
        "back": back_to(desk, record),
    }
    return render(request, "review/record_change.html", context, status=status)


@role_required(CLINICIAN, CURATOR)
@require_POST
def accept(request: HttpRequest, run_id: int, uid: str, slot: int) -> HttpResponse:
    """Sign the record off as it was shown: `hash` names its content, `key` the request."""
    assert isinstance(request.user, User)
    desk = desk_of(request, run_id, uid)
    address = reverse("record", args=(run_id, uid, slot))
    try:
        accept_record(
            run=desk.run,
            question=desk.question,
            slot=slot,
            seen_hash=request.POST.get("hash", ""),
            by=request.user,
            idempotency_key=request.POST.get("key", ""),
        )
    except OverrideError as error:
        messages.error(request, str(error))
    except VersionConflict:
        messages.error(request, "Not accepted: the record changed since you opened it. Read it again.")
    else:
        messages.success(request, "Accepted. If its path or response changes, this acceptance no longer counts.")
    record = read_record(desk.run, desk.question, slot)
    return redirect(address if record else reverse("run_question", args=(run_id, uid)))


def back_to(desk: Desk, record: Record | None, was: Record | None = None) -> str:
    """The record's page; where there is none any more, the question opened at the path it had."""
    if record:
        return reverse("record", args=(desk.run.pk, desk.question.uid, record.selection.slot))
    address = reverse("run_question", args=(desk.run.pk, desk.question.uid))
    return f"{address}?path={was.path.pk}#path" if was else address


def _slot(request: HttpRequest) -> int:
    raw = request.POST.get("slot", "") or request.GET.get("slot", "")
    return int(raw) if raw.isascii() and raw.isdigit() and len(raw) < 3 else 0
