"""What a manifest says that can be checked; everything in it is taken as hostile until then."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reasonmed_verify.merkle import MerkleTree
from reasonmed_verify.records import record_bytes

MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
CERTIFICATE = "certificate.json"  # added when the export is published
CERTIFICATE_SIGNATURE = "certificate.sig"
SIDECARS = frozenset({MANIFEST, SIGNATURE, CERTIFICATE, CERTIFICATE_SIGNATURE})  # not in the list of files
SCHEMA = "reasonmed-export/1"
HASH = "rfc6962-sha256"
PROVENANCE = "provenance"  # the set whose lines say which record is which
MAX_BYTES = 64 * 1024 * 1024
_NAME = re.compile(r"(?:\w[\w.-]*/)*\w[\w.-]*", re.ASCII)
_SET = re.compile(r"\w[\w.-]{0,99}", re.ASCII)
_HEX = re.compile(r"[0-9a-f]{64}")
_KEY = re.compile(r"[0-9a-f]{16}|")


class ManifestError(Exception):
    """The manifest is missing or says what none of ours says."""


@dataclass(frozen=True, slots=True)
class File:
    path: str
    sha256: str
    records: int
    bytes: int


@dataclass(frozen=True, slots=True)
class RecordSet:
    """One Merkle tree: the records of `files`, one after the other. `trail`: the set with one line for each of them."""

    name: str
    records: int
    root: str
    files: tuple[File, ...]
    trail: str = PROVENANCE


@dataclass(frozen=True, slots=True)
class Manifest:
    raw: bytes
    records: int
    card: File
    extras: tuple[File, ...]  # files that hold no records of a set
    sets: tuple[RecordSet, ...]
    root: str
    signed_by: str  # key id; "" where it says that it is not signed

    @property
    def names(self) -> set[str]:
        return {self.card.path, *(f.path for f in self.extras), *(f.path for s in self.sets for f in s.files)}


def read_manifest(folder: Path) -> Manifest:
    """Raises ManifestError."""
    try:
        with (folder / MANIFEST).open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ManifestError(f"cannot be read: {error.strerror}") from error
    if len(raw) > MAX_BYTES:
        raise ManifestError("is too long to be a manifest")
    try:
        return _parse(raw, json.loads(raw))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ManifestError(f"is not a manifest that can be checked: {_why(error)}") from error


def root_of_sets(sets: Iterable[tuple[str, int, str]]) -> str:
    """The root over (name, records, root in hex) of each set, in the manifest's order."""
    tree = MerkleTree()
    for name, records, root in sets:
        tree.add(set_leaf(name, records, root))
    return tree.root().hex()


def set_leaf(name: str, records: int, root: str) -> bytes:
    return record_bytes({"set": name, "records": records, "root": root})


def _parse(raw: bytes, said: Any) -> Manifest:
    if said["schema"] != SCHEMA:
        raise ValueError(f"its schema is not {SCHEMA}")
    if "merkle" not in said:
        raise ValueError("it has no Merkle root; it was written by an earlier version of the workbench")
    merkle, files = said["merkle"], {f.path: f for f in map(_file, said["files"])}
    card, extras = _file(said["card"]), tuple(map(_file, said.get("extras", ())))
    beside = [card.path, *(f.path for f in extras)]
    if merkle["hash"] != HASH or len(files) != len(said["files"]):
        raise ValueError(f"its hash is not {HASH}, or a file stands in it twice")
    if len({*files, *beside} - SIDECARS) != len(files) + len(beside):
        raise ValueError("a file stands in it twice")
    sets = tuple(
        RecordSet(
            _set(s["set"]),
            _count(s["records"]),
            _hex(s["root"]),
            tuple(files[name] for name in s["files"]),
            _set(s.get("trail", PROVENANCE)),
        )
        for s in merkle["sets"]
    )
    listed = [f.path for s in sets for f in s.files]
    if sorted(listed) != sorted(files):
        raise ValueError("its files are not those of its sets, each once")
    if len({s.name for s in sets}) != len(sets):
        raise ValueError("a set stands in it twice")
    return Manifest(
        raw=raw,
        records=_count(said["records"]),
        card=card,
        extras=extras,
        sets=sets,
        root=_hex(merkle["root"]),
        signed_by=_key(said["signed_by"] or ""),
    )


def _file(said: Any) -> File:
    if not _NAME.fullmatch(path := str(said["path"])):
        raise ValueError(f"no file of an export is called {path!r:.80}")
    return File(path, _hex(said["sha256"]), _count(said["records"]), _count(said["bytes"]))


def _set(said: Any) -> str:
    if not _SET.fullmatch(str(said)):
        raise ValueError(f"no set is called {said!r:.80}")
    return str(said)


def _key(said: Any) -> str:
    if not _KEY.fullmatch(str(said)):
        raise ValueError("what signed it is no key id")
    return str(said)


def _hex(said: Any) -> str:
    if not _HEX.fullmatch(str(said)):
        raise ValueError("a hash in it is not 64 hex digits")
    return str(said)


def _count(said: Any) -> int:
    if type(said) is not int or said < 0:
        raise ValueError("a count in it is no whole number")
    return said


def _why(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error) or type(error).__name__
