"""Why something of a queue cannot be done, in words for the person who wants it."""

from __future__ import annotations

from apps.review.models import Claim, Judgment


class QueueError(ValueError):
    """A request that cannot stand as given. `field` names what of it, where that is known."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class NotAdmitted(QueueError):  # noqa: N818 - named after what happened
    """The person may not work in this queue, or not settle this path."""


class ItemLost(Exception):  # noqa: N818 - named after what happened
    """The item is no longer the person's: taken by someone else (who is not named), set aside, or never claimed."""


class ItemChanged(Exception):  # noqa: N818 - named after what happened
    """The person judged or undid the item elsewhere since this page was opened. `current` is what stands now, if any."""

    def __init__(self, claim: Claim, current: Judgment | None) -> None:
        super().__init__(
            "You have judged this item in another window since you opened it here. Compare the two and save again."
            if current
            else "You have undone your judgment of this item in another window. Look at it and save again."
        )
        self.claim = claim
        self.current = current
