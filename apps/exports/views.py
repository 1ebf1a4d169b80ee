"""The export pages: what was exported, what a new export would hold, and its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_safe
from django.views.decorators.vary import vary_on_headers
from django_htmx.http import HTMX_STOP_POLLING

from apps.exports.choices import read_selection, selection_of
from apps.exports.config import DEFAULT, ExportConfig, read_config
from apps.exports.downloads import send_file
from apps.exports.errors import ExportRefusedError
from apps.exports.forms.choices import form_choices, read_forms
from apps.exports.forms.names import FormName
from apps.exports.inspections.choices import choices_of, read_choices
from apps.exports.models import Snapshot
from apps.exports.preview import preview_export
from apps.exports.publishing import propose_name, refusal_to_publish
from apps.exports.records import TITLES, VARIANTS
from apps.exports.selectors import files_of, snapshots_before, snapshots_of
from apps.exports.services import create_export
from apps.exports.sidecars import WORDS as SIDECARS
from apps.exports.sidecars import sidecars_of
from apps.exports.writers import FORMATS, WORDS
from apps.questions.access import CONSUMER, CURATOR, has_role, project_of, role_required
from apps.reasoning.models import Run, Tier

ON_PAGE = 50
RUNS_TO_CHOOSE = 200
HINTS = {
    "reasonmed": "<think>reasoning</think> then the response",
    "cotmed": "the reasoning alone",
    "responsemed": "the response alone",
}


@role_required(CONSUMER)
@require_safe
@vary_on_headers("HX-Request")
def exports(request: HttpRequest) -> HttpResponse:
    """Newest first; for htmx only the table, which asks again while something is being built."""
    page = list(snapshots_before(project_of(request), _uuid(request.GET.get("before", "")))[: ON_PAGE + 1])
    shown, more = page[:ON_PAGE], len(page) > ON_PAGE
    context = {"snapshots": shown, "more": shown[-1].pk if more else None, "polls": any(s.active for s in shown)}
    if request.headers.get("HX-Request"):
        return render(request, "exports/_table.html", context, status=_polling(bool(context["polls"])))
    return render(request, "exports/exports.html", context)


@role_required(CURATOR)
@require_http_methods(["GET", "HEAD", "POST"])
@vary_on_headers("HX-Request")
def export_new(request: HttpRequest) -> HttpResponse:
    """The form with its preview (for htmx the preview alone); a POST orders the export."""
    form = _read_form(request, request.POST if request.method == "POST" else request.GET)
    if request.method == "POST":
        if form.run is None:
            form.problems["x-run"] = "Choose a run."
        if not form.variants:
            form.problems["x-reasonmed"] = "Choose at least one set."
        if form.run and not form.problems:
            try:
                author = request.user if isinstance(request.user, User) else None
                made = create_export(
                    run=form.run, variants=form.variants, format=form.format, config=form.config, created_by=author
                )
                return redirect("export", made.pk)
            except ExportRefusedError as error:
                form.problems["x-run"] = str(error)
    context: dict[str, Any] = {"form": form, "tiers": Tier.values}
    context["preview"] = preview_export(form.run, form.config) if form.run else None
    if request.headers.get("HX-Request"):
        return render(request, "exports/_preview.html", context)
    context["selection"] = selection_of(project_of(request), form.config)
    context["quality"] = choices_of(form.run, form.config)
    return render(request, "exports/new.html", context, status=422 if form.problems else 200)


@role_required(CONSUMER)
@require_safe
@vary_on_headers("HX-Request")
def export(request: HttpRequest, export_id: UUID) -> HttpResponse:
    """One export; for htmx its live part, until it is done."""
    return export_page(request, get_object_or_404(snapshots_of(project_of(request)), pk=export_id))


def export_page(request: HttpRequest, snapshot: Snapshot, *, problem: str = "", name: str = "") -> HttpResponse:
    """`problem`: why what a curator asked for was refused; `name`: the one they typed."""
    context: dict[str, Any] = {"snapshot": snapshot, "files": files_of(snapshot), "titles": _titles(snapshot)}
    context["sidecars"] = [(file, SIDECARS[file["path"]]) for file in sidecars_of(snapshot)]
    if snapshot.candidate and has_role(request.user, CURATOR):
        context |= {"problem": problem, "why_not": refusal_to_publish(snapshot)}
        context["name"] = name or propose_name(snapshot.project)
    if request.headers.get("HX-Request"):
        context["swapped"] = True
        return render(request, "exports/_export.html", context, status=_polling(snapshot.active))
    return render(request, "exports/export.html", context | {"problem": problem}, status=422 if problem else 200)


@role_required(CONSUMER)
@require_safe
def export_file(request: HttpRequest, export_id: UUID, name: str) -> HttpResponseBase:
    return send_file(request, get_object_or_404(snapshots_of(project_of(request)), pk=export_id), name)


@dataclass(slots=True)
class _Form:
    run: Run | None
    runs: list[Run]
    variants: Sequence[str]
    format: str
    config: ExportConfig
    problems: dict[str, str]  # id of the field → what is wrong

    @property
    def sets(self) -> list[tuple[str, str, str, bool]]:
        return [(v, TITLES[v], HINTS[v], v in self.variants) for v in VARIANTS]

    @property
    def forms(self) -> list[tuple[FormName, str, str, bool]]:
        return form_choices(self.config)

    @property
    def formats(self) -> list[tuple[str, str, bool]]:
        return [(f, WORDS[f], f == self.format) for f in FORMATS]


def _read_form(request: HttpRequest, data: QueryDict) -> _Form:
    """What was chosen; before anything was, the newest run and all sets."""
    project = project_of(request)
    runs = list(project.runs.all()[:RUNS_TO_CHOOSE])
    wanted = data.get("run", "")
    run = project.runs.select_related("paths_from").filter(name=wanted).first() if wanted else None
    if not wanted and request.method != "POST" and runs:
        run = runs[0]
    if run and run not in runs:
        runs.append(run)
    variants = [v for v in VARIANTS if v in data.getlist("variant")]
    if not variants and "format" not in data and request.method != "POST":
        variants = list(VARIANTS)
    format = data.get("format", "")
    form = _Form(run, runs, variants, format if format in FORMATS else FORMATS[0], DEFAULT, {})
    selection = read_selection(data)
    for place, chosen in (("x-selection", selection), ("x-quality", selection | read_forms(data) | read_choices(data))):
        try:
            form.config = read_config(chosen)
        except ExportRefusedError as error:
            form.problems[place] = str(error)
            break
    return form


def _titles(snapshot: Snapshot) -> str:
    return ", ".join(TITLES[v] for v in VARIANTS if v in snapshot.variants)


def _polling(active: bool) -> int:
    return 200 if active else HTMX_STOP_POLLING


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
