"""What the codes of a judgment mean: the axis a reason fails, the sentence a verdict keeps when nothing was written."""

from __future__ import annotations

from collections.abc import Sequence

from apps.review.models import Reason

REASON_AXIS = {
    Reason.WRONG_FACT: "factuality",
    Reason.OUTDATED_GUIDELINE: "factuality",
    Reason.OPTION_NOT_EVALUATED: "coherence",
    Reason.FAULTY_LOGIC: "coherence",
    Reason.MISSED_FINDING: "correctness",
    Reason.UNSAFE_ADVICE: "correctness",
    Reason.WRONG_ANSWER: "correctness",
    Reason.OTHER: "correctness",
}


def reasons_in_words(reasons: Sequence[str]) -> str:
    """ "Wrong fact; missed finding"."""
    said = "; ".join(str(Reason(code).label).lower() for code in reasons)
    return said[:1].upper() + said[1:]
