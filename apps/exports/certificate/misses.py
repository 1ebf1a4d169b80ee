"""What reviewers overlook: of known faults mixed among the records, of gold items of the review queues, or as entered."""

from __future__ import annotations

from collections.abc import Iterable

from django.contrib.auth.models import User
from django.db.models import Count, Q, QuerySet

from apps.exports.certificate.bounds import Misses
from apps.exports.certificate.plan import CertificatePlan
from apps.exports.models_certificate import Certification, Outcome, SampleJudgment
from apps.questions.access import IMPLIED
from apps.questions.models import Project
from apps.reasoning.models import Label
from apps.review.models import Judgment, Phase


def misses_of(study: Certification) -> Misses | None:
    """As the plan asks: none where it does not count them. Gold: of the people who judged records of this study so far,
    else of all who may."""
    plan = CertificatePlan.model_validate(study.plan)
    if plan.misses == "mixed":
        return Misses(*mixed_misses(study))
    if plan.misses != "gold":
        return planned_misses(plan, study.snapshot.run.project, ())
    judged_by = SampleJudgment.objects.filter(record__certification=study, wrong__isnull=False, current=True)
    people = set(judged_by.order_by().values_list("reviewer", flat=True))
    return planned_misses(plan, study.snapshot.run.project, people or may_judge(study))


def planned_misses(plan: CertificatePlan, project: Project, people: Iterable[int]) -> Misses | None:
    if plan.misses == "none":
        return None
    missed, known = gold_misses(project, people) if plan.misses == "gold" else plan.entered
    return Misses(missed, known, plan.spread)


def mixed_misses(study: Certification) -> tuple[int, int]:
    """(called right, judged): of the known faults mixed among the records, by all who judge one together."""
    found = study.known_faults.order_by().aggregate(
        known=Count("pk", filter=~Q(outcome="")), missed=Count("pk", filter=Q(outcome=Outcome.RIGHT))
    )
    return found["missed"], found["known"]


def gold_misses(project: Project, people: Iterable[int]) -> tuple[int, int]:
    """(called Correct, shown) of `gold_judgments`."""
    found = gold_judgments(project, people).aggregate(
        known=Count("pk"), missed=Count("pk", filter=Q(verdict__label=Label.CORRECT))
    )
    return found["missed"], found["known"]


def gold_judgments(project: Project, people: Iterable[int]) -> QuerySet[Judgment]:
    """First blind judgments of paths known to be wrong, practice left out."""
    return Judgment.objects.filter(
        item__queue__project=project,
        item__queue__practice=False,
        item__gold_label=Label.ERROR,
        reviewer__in=list(people),
        phase=Phase.FIRST,
        round=1,
        blind=True,
    ).order_by()


def may_judge(study: Certification) -> list[int]:
    """Everyone whom the study admits."""
    return people_with(study.snapshot.run.project, study.role, [user.pk for user in study.reviewers.all()])


def people_with(project: Project, role: str, named: Iterable[int]) -> list[int]:
    """The ids of the people of the project with the role, or a role that implies it, and of those named."""
    roles = {role, *(name for name, implied in IMPLIED.items() if role in implied)}
    wanted = Q(pk__in=list(named))
    if role:
        wanted |= Q(groups__name__in=roles) | Q(is_superuser=True)
    members = User.objects.filter(wanted, is_active=True, projects=project)
    return list(members.order_by("pk").values_list("pk", flat=True).distinct())
