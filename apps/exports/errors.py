"""What can go wrong with an export, told to the one who can act."""

from __future__ import annotations


class ExportRefusedError(Exception):
    """The export cannot be made as asked; nothing was written."""


class LedgerBrokenError(Exception):
    """A question counted as ready breaks a rule of the ledger. Nothing is exported; `check_ledger` tells more."""


class ExportStoppedError(Exception):
    """Somebody asked the builder to stop; what it had written is gone."""
