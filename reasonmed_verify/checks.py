"""All checks of an export's folder, each told as it is done. Reads each data file twice, holds one record at a time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from reasonmed_verify.certificate import CertificateError, read_certificate
from reasonmed_verify.manifest import (
    MANIFEST,
    PROVENANCE,
    SIDECARS,
    SIGNATURE,
    File,
    Manifest,
    ManifestError,
    RecordSet,
    read_manifest,
    root_of_sets,
    set_leaf,
)
from reasonmed_verify.merkle import MerkleTree, root_from_proof
from reasonmed_verify.records import UnreadableError, read_leaves
from reasonmed_verify.signature import SignatureError, check_signature


@dataclass(frozen=True, slots=True)
class Finding:
    """One line. A note is no problem, but something to know."""

    kind: Literal["ok", "note", "problem"]
    text: str


def check_folder(
    folder: Path, *, key: Ed25519PublicKey | None = None, record: str | None = None, of: str = PROVENANCE
) -> Iterator[Finding]:
    """`record`: its place from 0, or `<question>/<slot>`, in the set `of` and those that share its trail.

    Without `key`, any key may have signed it.
    """
    try:
        manifest = read_manifest(folder)
    except ManifestError as error:
        yield _problem(MANIFEST, str(error))
        return
    yield _signature(folder, manifest, key)
    yield from _beside(folder, manifest)
    yield from _unlisted(folder, manifest)
    trail = next((s.trail for s in manifest.sets if s.name == of), "")
    place = None if record is None else _place_of(folder, manifest, record, trail)
    if isinstance(place, Finding):
        yield place
        place = None
    for records in manifest.sets:
        yield from _set(folder, manifest, records, place if records.trail == trail else None)
    if root_of_sets((s.name, s.records, s.root) for s in manifest.sets) == manifest.root:
        yield Finding("ok", f"root {manifest.root} over {len(manifest.sets)} sets of {manifest.records:,} records")
    else:
        yield _problem(MANIFEST, "its root is not the one over its sets")
    yield from _certificate(folder, manifest, key)


def _signature(folder: Path, manifest: Manifest, key: Ed25519PublicKey | None) -> Finding:
    path = folder / SIGNATURE
    if not path.is_file():
        if manifest.signed_by:
            return _problem(SIGNATURE, f"is missing, though the manifest is signed by the key {manifest.signed_by}")
        if key is not None:
            return _problem(SIGNATURE, "is missing: this export is not signed")
        return Finding("note", "not signed: nothing shows who made this export")
    try:
        found = check_signature(path.read_bytes(), file=MANIFEST, data=manifest.raw, key=key)
    except SignatureError as error:
        return _problem(SIGNATURE, str(error))
    except OSError as error:
        return _problem(SIGNATURE, f"cannot be read: {error.strerror}")
    if found.key != manifest.signed_by:
        return _problem(SIGNATURE, f"was made with the key {found.key}, the manifest names another")
    said = f"signed by the key {found.key} at {found.signed_at}"
    if key is not None:
        return Finding("ok", said)
    return Finding("note", f"{said}; compare this key id with the one the publisher names, or give --key")


def _certificate(folder: Path, manifest: Manifest, key: Ed25519PublicKey | None) -> Iterator[Finding]:
    try:
        if found := read_certificate(folder, manifest, key=key):
            yield from (Finding("ok", text) for text in found.checked)
            yield Finding("ok", f"certificate signed by the key {found.signed_by}: {found.sentence}")
    except CertificateError as error:
        yield Finding("problem", str(error))


def _beside(folder: Path, manifest: Manifest) -> Iterator[Finding]:
    """The card and the files that hold no set."""
    found = [problem for file in (manifest.card, *manifest.extras) for problem in _file(folder, file)]
    yield from found
    if manifest.extras and not found:
        yield Finding("ok", f"{len(manifest.extras) + 1} files beside the sets")


def _file(folder: Path, file: File) -> Iterator[Finding]:
    """Nothing where the file is as the manifest says."""
    path = folder / file.path
    if not path.is_file():
        yield _problem(file.path, "is no file" if path.exists() else "is missing")
        return
    try:
        with path.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
            size = opened.tell()
    except OSError as error:
        yield _problem(file.path, f"cannot be read: {error.strerror}")
        return
    if size != file.bytes:
        yield _problem(file.path, f"has {size:,} bytes instead of {file.bytes:,}")
    elif digest != file.sha256:
        yield _problem(file.path, "was changed: its sha256 is not the manifest's")


def _unlisted(folder: Path, manifest: Manifest) -> Iterator[Finding]:
    """A loader takes files by pattern, so one too many would be loaded as well. Hidden ones are left alone."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in name.parts)
        if not hidden and (path.is_symlink() or not path.is_dir()) and name.as_posix() not in manifest.names | SIDECARS:
            yield _problem(ascii(name.as_posix())[1:-1], "is not in the manifest")


def _set(folder: Path, manifest: Manifest, records: RecordSet, watch: int | None) -> Iterator[Finding]:
    tree, watched, failed = MerkleTree(watch=watch), b"", False
    for file in records.files:
        for problem in _file(folder, file):
            failed = True
            yield problem
        if not (folder / file.path).is_file():
            return
        before = tree.size
        try:
            for leaf in read_leaves(folder / file.path):
                watched = leaf if tree.size == watch else watched
                tree.add(leaf)
        except (UnreadableError, OSError) as error:
            if not failed:  # a missing or a changed file has been told already
                yield _problem(file.path, str(error))
            return
        if (found := tree.size - before) != file.records:
            yield _problem(file.path, f"has {found:,} records instead of {file.records:,}")
    if not records.records == _due(manifest, records) == sum(f.records for f in records.files):
        yield _problem(MANIFEST, f"its counts of records do not agree for {records.name}")
    if tree.root().hex() != records.root:
        yield _problem(
            records.name, "its records are not those of the manifest, or not in that order: the root differs"
        )
        return
    yield Finding("ok", f"{records.name}: {tree.size:,} records, root {records.root}")
    if watch is not None and watch < tree.size:
        yield _record(manifest, records, watched, watch, tree.proof())


def _due(manifest: Manifest, records: RecordSet) -> int:
    """How many records a set has to have: as many as its trail has lines; those of the export's own, as it says."""
    if records.trail == PROVENANCE:
        return manifest.records
    return next((s.records for s in manifest.sets if s.name == records.trail), -1)


def _record(manifest: Manifest, records: RecordSet, leaf: bytes, place: int, path: list[bytes]) -> Finding:
    """The way from the record to the root of its set, and from there to the root of the manifest."""
    sets = MerkleTree(watch=manifest.sets.index(records))
    for other in manifest.sets:
        sets.add(set_leaf(other.name, other.records, other.root))
    own = root_from_proof(leaf, index=place, size=records.records, path=path)
    top = own and root_from_proof(
        set_leaf(records.name, records.records, own.hex()),
        index=manifest.sets.index(records),
        size=len(manifest.sets),
        path=sets.proof(),
    )
    if top is None or top.hex() != manifest.root:
        return _problem(records.name, f"record {place:,} is not proven: its proof leads to another root")
    hashes = len(path) + len(sets.proof())
    return Finding("ok", f"{records.name}: record {place:,} stands under the root, proven by {hashes} hashes")


def _place_of(folder: Path, manifest: Manifest, record: str, trail: str) -> int | Finding:
    """The record's place, or why there is none."""
    told = next((s for s in manifest.sets if s.name == trail), None)
    if told is None:
        return _problem(ascii(record), "no such set, or no set that says which record is which")
    if record.isascii() and record.isdecimal():
        place = int(record)
        return place if place < told.records else _problem(record, f"there are {told.records:,} records, from 0")
    question, _, slot = record.rpartition("/")
    try:
        lines = (line for file in told.files for line in read_leaves(folder / file.path))
        for place, line in enumerate(lines):
            said = json.loads(line)
            if (said["question"], str(said["slot"])) == (question, slot):
                return place
    except (UnreadableError, OSError, ValueError, KeyError, TypeError, RecursionError):
        return _problem(trail, "cannot be read, so the record cannot be looked up")
    return _problem(ascii(record), "no such record; give its place from 0, or <question>/<slot>")


def _problem(where: str, what: str) -> Finding:
    return Finding("problem", f"{where}: {what}")
