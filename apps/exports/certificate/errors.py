"""Why something of a certificate cannot be done, in words for the person who wants it."""

from __future__ import annotations

from apps.exports.models_certificate import SampleClaim, SampleJudgment


class CertificateRefusedError(Exception):
    """It cannot be done as asked; nothing was written. `field` names what of the request, where that is known."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class RecordChangedError(Exception):
    """The person judged or undid the record elsewhere since this page was opened. `current` is what stands now, if any."""

    def __init__(self, claim: SampleClaim, current: SampleJudgment | None) -> None:
        super().__init__(
            "You have judged this record in another window since you opened it here. Compare the two and save again."
            if current
            else "You have undone your judgment of this record in another window. Look at it and save again."
        )
        self.claim = claim
        self.current = current
