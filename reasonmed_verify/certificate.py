"""A certificate beside an export: a signed JSON document that names the root whose records it speaks of."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from reasonmed_verify.bounds import LARGEST
from reasonmed_verify.drawing import RULE, draw_sample, draw_strata
from reasonmed_verify.figures import FiguresError, check_figures
from reasonmed_verify.manifest import CERTIFICATE, CERTIFICATE_SIGNATURE, MAX_BYTES, PROVENANCE, Manifest
from reasonmed_verify.records import UnreadableError, read_leaves
from reasonmed_verify.signature import SignatureError, check_signature

SCHEMA = "reasonmed-certificate/1"
_DAMAGED = (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError)


class CertificateError(Exception):
    """The certificate does not stand for this export; the message names the file and says why."""


@dataclass(frozen=True, slots=True)
class Certificate:
    sentence: str  # what it claims, printable
    signed_by: str  # key id
    checked: tuple[str, ...] = ()  # what of it was worked out again


def read_certificate(folder: Path, manifest: Manifest, *, key: Ed25519PublicKey | None = None) -> Certificate | None:
    """None where there is none. It has to be signed, with `key` or else with the key of the manifest, and name its root;
    its sample has to be the one that its seed draws. Raises CertificateError.
    """
    data, signature = _files(folder)
    if data is None:
        return None
    try:
        signed = check_signature(signature, file=CERTIFICATE, data=data, key=key)
    except SignatureError as error:
        raise CertificateError(f"{CERTIFICATE_SIGNATURE}: {error}") from error
    if key is None and signed.key != manifest.signed_by:
        raise CertificateError(
            f"{CERTIFICATE_SIGNATURE}: was made with the key {signed.key}, which is not the manifest's"
        )
    try:
        said = json.loads(data)
        schema, root, sentence = str(said["schema"]), str(said["root"]), str(said["sentence"])
    except _DAMAGED as error:
        raise CertificateError(f"{CERTIFICATE}: is no certificate") from error
    if schema != SCHEMA:
        raise CertificateError(f"{CERTIFICATE}: is not of the form {SCHEMA}")
    if root != manifest.root:
        raise CertificateError(f"{CERTIFICATE}: is one of other records: it names another root")
    return Certificate(_printable(sentence), signed.key, _checked(folder, manifest, said))


def _files(folder: Path) -> tuple[bytes | None, bytes]:
    """The document, None where there is none, and its signature."""
    try:
        if not (folder / CERTIFICATE).is_file():
            if (folder / CERTIFICATE_SIGNATURE).exists():
                raise CertificateError(f"{CERTIFICATE}: is missing, though its signature is here")
            return None, b""
        with (folder / CERTIFICATE).open("rb") as file:
            data = file.read(MAX_BYTES)
        return data, (folder / CERTIFICATE_SIGNATURE).read_bytes()
    except OSError as error:
        raise CertificateError(f"{CERTIFICATE}: it or its signature cannot be read: {error.strerror}") from error


def _checked(folder: Path, manifest: Manifest, said: dict[str, Any]) -> tuple[str, ...]:
    """Nothing where it does not tell its sample. Raises CertificateError where what it tells does not agree."""
    if "drawing" not in said or "judged" not in said:
        return ()
    try:
        drawn, of = _draw_again(folder, manifest, said["drawing"])
        judged, wrong = list(said["judged"]["records"]), list(said["judged"]["wrong"])
        sequential = said["plan"]["kind"] == "sequential"
        if judged != drawn[: len(judged)] or (len(judged) < len(drawn) and not sequential):
            raise CertificateError(f"{CERTIFICATE}: its records are not those that its seed draws")
        if len(set(wrong)) != len(wrong) or not set(wrong) <= set(judged):
            raise CertificateError(f"{CERTIFICATE}: records are counted as wrong that were not judged")
        return (
            f"certificate: its {len(judged):,} records are those that its seed draws, {len(wrong):,} of them wrong",
            *check_figures(said, judged=judged, wrong=set(wrong), drawn=len(drawn), stratum_of=of),
        )
    except FiguresError as error:
        raise CertificateError(f"{CERTIFICATE}: {error}") from error
    except _DAMAGED as error:
        raise CertificateError(f"{CERTIFICATE}: what it tells of its sample cannot be read") from error


def _draw_again(folder: Path, manifest: Manifest, drawing: dict[str, Any]) -> tuple[list[int], list[str] | None]:
    """The numbers in the order drawn, and each record's stratum; none where there are no strata."""
    size, seed, by = int(drawing["size"]), str(drawing["seed"]), drawing["by"]
    told = {str(s["name"]): (int(s["records"]), int(s["drawn"])) for s in drawing["strata"]}
    if drawing["rule"] != RULE:
        raise CertificateError(f"{CERTIFICATE}: its sample was drawn in a way that this program does not know")
    if manifest.root not in seed:
        raise CertificateError(f"{CERTIFICATE}: its seed was not bound to these records")
    if not 0 < size <= manifest.records <= LARGEST or size != sum(drawn for _, drawn in told.values()):
        raise CertificateError(f"{CERTIFICATE}: its sample is larger than the export, or not the sum of its parts")
    of = None if by is None else _strata(folder, manifest, str(by))
    found = {next(iter(told)): manifest.records} if of is None else dict(Counter(of))
    if found != {name: records for name, (records, _) in told.items()}:
        raise CertificateError(f"{CERTIFICATE}: its strata are not those of the records")
    if of is None:
        return draw_sample(manifest.records, size, seed=seed), None
    return draw_strata(of, {name: drawn for name, (_, drawn) in told.items()}, seed=seed), of


def _strata(folder: Path, manifest: Manifest, by: str) -> list[str]:
    """The stratum of each record, by its number, as the trail tells it."""
    trail = next((s for s in manifest.sets if s.name == PROVENANCE), None)
    if trail is None:
        raise CertificateError(f"{CERTIFICATE}: its strata cannot be looked up without {PROVENANCE}")
    try:
        return [str(json.loads(line)[by]) for file in trail.files for line in read_leaves(folder / file.path)]
    except (UnreadableError, OSError) as error:
        raise CertificateError(f"{CERTIFICATE}: its strata cannot be looked up: {PROVENANCE} {error}") from error


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)
