"""What a manifest says so that an export can be checked: roots over its records, the code that wrote it, who signed it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from apps.exports.writers import FileEntry, RecordWriter
from reasonmed_verify.manifest import HASH, root_of_sets


def merkle_section(
    sets: Sequence[tuple[RecordWriter, Sequence[FileEntry]]], *, trails: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The root over all sets and that of each, from finished writers and the files they made.

    `trails`: by the name of a set that counts on its own, the set that says where its records come from.
    """
    trails = trails or {}
    roots = [(writer.name, writer.tree.size, writer.tree.root().hex()) for writer, _ in sets]
    return {
        "hash": HASH,
        "root": root_of_sets(roots),
        "sets": [
            {"set": name, "records": records, "root": root, "files": [file["path"] for file in files]}
            | ({"trail": trails[name]} if name in trails else {})
            for (name, records, root), (_, files) in zip(roots, sets, strict=True)
        ],
    }
