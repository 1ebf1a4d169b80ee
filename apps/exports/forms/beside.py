"""Writes what stands beside the sets: the card, the citation, and the descriptions that programs read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from apps.exports.card import dataset_card
from apps.exports.folder import CARD
from apps.exports.forms.citation import citation
from apps.exports.forms.croissant import croissant
from apps.exports.forms.llama_factory import dataset_info
from apps.exports.writers import FileEntry


def write_beside(
    folder: Path, manifest: Mapping[str, Any], licences: Mapping[str, str]
) -> tuple[FileEntry, list[FileEntry]]:
    """The card and the other files. `manifest` is complete but for `card` and `extras`."""
    card = _write(folder / CARD, dataset_card(manifest, licences).encode())
    extras = [
        _write(folder / "CITATION.cff", citation(manifest)),
        _write(folder / "dataset_info.json", dataset_info(manifest)),
        _write(folder / "croissant.json", croissant(manifest, licences)),
    ]
    return card, extras


def _write(path: Path, data: bytes) -> FileEntry:
    path.write_bytes(data)
    return {"path": path.name, "sha256": hashlib.sha256(data).hexdigest(), "records": 0, "bytes": len(data)}
