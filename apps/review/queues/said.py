"""What a person says of a path, checked before anything is written. Pure but for the words of the codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apps.reasoning.policy.facts import LabelName
from apps.reasoning.sentences import SPLITTER_VERSION, split_sentences
from apps.review.models import Harm, Reason
from apps.review.queues.errors import QueueError
from apps.review.queues.words import REASON_AXIS, reasons_in_words
from apps.review.services import AXES, OverrideError, check_judgment

LONGEST_COMMENT = 20_000
LONGEST_SITTING_MS = 6 * 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """As it comes from a page. Axes left out (none) follow from the label and the reasons; sentences by number.

    `splitter` is the version of the numbering that the page showed.
    """

    label: str
    axes: Mapping[str, bool | None] | None = None
    reasons: Sequence[str] = ()
    harm: str = ""
    sentences: Sequence[int] = ()
    splitter: int = SPLITTER_VERSION
    comment: str = ""
    flagged: bool = False
    active_ms: int = 0


@dataclass(frozen=True, slots=True)
class Checked:
    """`reason` is the verdict's text: the comment, else the reasons in words. `quoted`: [[version, number, text], …]."""

    label: LabelName
    axes: dict[str, bool | None]
    reason: str
    reasons: list[str]
    harm: str
    quoted: list[list[Any]]
    comment: str
    flagged: bool
    active_ms: int

    @property
    def details(self) -> dict[str, Any]:
        """For `Verdict.details`, in the form that overrides use too."""
        numbers = [number for _, number, _ in self.quoted]
        found: dict[str, Any] = {"reasons": self.reasons, "harm": self.harm, "sentences": numbers}
        kept = {name: value for name, value in found.items() if value}
        return kept | ({"splitter": SPLITTER_VERSION} if numbers else {})


def check_said(said: Said, *, text: str) -> Checked:
    """`text` is the path. Raises QueueError naming the field."""
    reasons = list(dict.fromkeys(said.reasons))
    if unknown := [code for code in reasons if code not in Reason.values]:
        raise QueueError(f"There is no reason {str(unknown[0])[:40]!r}.", field="reasons")
    if said.harm and said.harm not in Harm.values:
        raise QueueError("Choose one of the levels of harm, or none.", field="harm")
    if said.label == "correct" and (reasons or said.harm not in ("", Harm.NONE)):
        raise QueueError(
            "A Correct path has no reasons and does no harm; call it Error, or take them away.", field="label"
        )
    comment = clean_text(said.comment)
    if len(comment) > LONGEST_COMMENT:
        raise QueueError(f"At most {LONGEST_COMMENT:,} characters, please.", field="comment")
    if said.label == "error" and not (reasons or comment):
        raise QueueError("Say what is wrong: choose a reason, or write one.", field="reasons")
    axes = said.axes if said.axes is not None else _axes_of(said.label, reasons)
    reason = comment or reasons_in_words(reasons) or "No error found."
    try:
        label = check_judgment(label=said.label, axes=axes, reason=reason)
    except OverrideError as error:
        raise QueueError(str(error), field=error.field) from error
    quoted = _quoted(said, text)
    active = min(max(int(said.active_ms), 0), LONGEST_SITTING_MS)
    return Checked(
        label, {a: axes[a] for a in AXES}, reason, reasons, said.harm, quoted, comment, bool(said.flagged), active
    )


def clean_text(text: str) -> str:
    """Without what PostgreSQL cannot keep: NUL and halves of surrogate pairs."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode().strip()


def _axes_of(label: str, reasons: Sequence[str]) -> dict[str, bool | None]:
    """All pass for a Correct path; an Error fails the axes of its reasons, and correctness when there is none."""
    if label != "error":
        return dict.fromkeys(AXES, True)
    failed = {REASON_AXIS[Reason(code)] for code in reasons} or {"correctness"}
    return {axis: axis not in failed for axis in AXES}


def _quoted(said: Said, text: str) -> list[list[Any]]:
    if not said.sentences:
        return []
    if said.splitter != SPLITTER_VERSION:
        raise QueueError(
            "The sentences were numbered anew since you opened this page; load it again.", field="sentences"
        )
    sentences = split_sentences(text)
    numbers = sorted(set(said.sentences))
    if outside := [n for n in numbers if not 1 <= n <= len(sentences)]:
        raise QueueError(f"This path has {len(sentences)} sentences; there is no {outside[0]}.", field="sentences")
    return [[SPLITTER_VERSION, n, sentences[n - 1].text] for n in numbers]
