"""A certificate beside an export: a signed JSON document that names the root whose records it speaks of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from reasonmed_verify.manifest import CERTIFICATE, CERTIFICATE_SIGNATURE, MAX_BYTES, Manifest
from reasonmed_verify.signature import SignatureError, check_signature

SCHEMA = "reasonmed-certificate/1"


class CertificateError(Exception):
    """The certificate does not stand for this export; the message names the file and says why."""


@dataclass(frozen=True, slots=True)
class Certificate:
    sentence: str  # what it claims, printable
    signed_by: str  # key id


def read_certificate(folder: Path, manifest: Manifest, *, key: Ed25519PublicKey | None = None) -> Certificate | None:
    """None where there is none. It has to be signed, with `key` or else with the key of the manifest, and name its root.

    Raises CertificateError.
    """
    try:
        if not (folder / CERTIFICATE).is_file():
            if (folder / CERTIFICATE_SIGNATURE).exists():
                raise CertificateError(f"{CERTIFICATE}: is missing, though its signature is here")
            return None
        with (folder / CERTIFICATE).open("rb") as file:
            data = file.read(MAX_BYTES)
        signature = (folder / CERTIFICATE_SIGNATURE).read_bytes()
    except OSError as error:
        raise CertificateError(f"{CERTIFICATE}: it or its signature cannot be read: {error.strerror}") from error
    try:
        signed = check_signature(signature, file=CERTIFICATE, data=data, key=key)
    except SignatureError as error:
        raise CertificateError(f"{CERTIFICATE_SIGNATURE}: {error}") from error
    if key is None and signed.key != manifest.signed_by:
        raise CertificateError(
            f"{CERTIFICATE_SIGNATURE}: was made with the key {signed.key}, which is not the manifest's"
        )
    schema, root, sentence = _read(data)
    if schema != SCHEMA:
        raise CertificateError(f"{CERTIFICATE}: is not of the form {SCHEMA}")
    if root != manifest.root:
        raise CertificateError(f"{CERTIFICATE}: is one of other records: it names another root")
    return Certificate("".join(c if c.isprintable() else "?" for c in sentence), signed.key)


def _read(data: bytes) -> tuple[str, str, str]:
    try:
        said = json.loads(data)
        return str(said["schema"]), str(said["root"]), str(said["sentence"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CertificateError(f"{CERTIFICATE}: is no certificate") from error
