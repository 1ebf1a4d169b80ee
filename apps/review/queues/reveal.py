"""What a person sees once they have committed: the judge's verdict, which model wrote the path, what is known of it."""

from __future__ import annotations

from dataclasses import dataclass

from apps.reasoning.models import Verdict, VerdictSource
from apps.review.models import Claim, QueueItem

AXES = ("correctness", "coherence", "factuality")


@dataclass(frozen=True, slots=True)
class Reveal:
    """Of the path's base facts and the judge of the queue's run; `label` is empty when it has not judged."""

    label: str
    correctness: bool | None
    coherence: bool | None
    factuality: bool | None
    reason: str
    generator: str
    temperature: float | None
    model: str
    answer: str
    key: str


@dataclass(frozen=True, slots=True)
class GoldFeedback:
    """`label` is what is right; `agreed`: the person said the same."""

    label: str
    reason: str
    agreed: bool


def may_reveal(item: QueueItem, claim: Claim | None) -> bool:
    """An open queue shows everything from the start; a blind one after the person's first judgment."""
    return not item.queue.blind or (claim is not None and claim.revealed_at is not None)


def reveal(item: QueueItem) -> Reveal:
    """Ask `may_reveal` first."""
    said = Verdict.objects.filter(
        run_id=item.queue.run_id, path_id=item.path_id, source=VerdictSource.JUDGE, current=True
    )
    judged = said.values_list("label", *AXES, "reason").first()
    label, correctness, coherence, factuality, reason = judged or ("", None, None, None, "")
    path = item.path
    return Reveal(
        label=label,
        correctness=correctness,
        coherence=coherence,
        factuality=factuality,
        reason=reason,
        generator=path.generator,
        temperature=path.temperature,
        model=path.model,
        answer=path.answer,
        key=item.question.key_letter,
    )


def gold_feedback(item: QueueItem, label: str) -> GoldFeedback | None:
    """None where the item is no gold, or the queue tells nothing: then nobody can see that it is gold."""
    if not item.gold_label or not item.queue.feedback:
        return None
    return GoldFeedback(item.gold_label, item.gold_reason, agreed=label == item.gold_label)
