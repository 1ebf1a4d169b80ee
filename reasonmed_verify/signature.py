"""Ed25519 signatures over a file of an export, kept beside it (`manifest.sig`), and the keys they are made with."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

SCHEMA = "reasonmed-signature/1"
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)


class SignatureError(Exception):
    """The signature does not hold, or is none; the message says why."""


class KeyFormatError(Exception):
    """What was given as a public key is none."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What the signature file says. `signature` and `public_key` are base64, `signed_at` is UTC (ISO 8601, ending in Z)."""

    schema: str
    file: str
    sha256: str
    signed_at: str
    key: str
    public_key: str
    signature: str

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), indent=2).encode() + b"\n"


def signed_text(*, file: str, sha256: str, signed_at: str) -> bytes:
    """The bytes that are signed: four lines, each with its end."""
    return "".join(f"{line}\n" for line in (SCHEMA, file, sha256, signed_at)).encode()


def check_signature(raw: bytes, *, file: str, data: bytes, key: Ed25519PublicKey | None = None) -> Signature:
    """The signature in `raw` where it holds for the content `data` of `file`, made with `key` where one is given.

    Without `key` it only says that someone holding the key it names signed this. Raises SignatureError.
    """
    found = _parse(raw)
    if found.file != file or found.sha256 != hashlib.sha256(data).hexdigest():
        raise SignatureError(f"is a signature of something else: {file} was changed after it was signed, or exchanged")
    try:
        named = parse_public_key(found.public_key)
        given = base64.b64decode(found.signature, validate=True)
    except (KeyFormatError, binascii.Error) as error:
        raise SignatureError("holds no sound public key and signature") from error
    if found.key != key_id(named):
        raise SignatureError("names a key id that is not that of its key")
    if key is not None and key_id(key) != found.key:
        raise SignatureError(f"was made with the key {found.key}, not with {key_id(key)} as asked for")
    try:
        text = signed_text(file=found.file, sha256=found.sha256, signed_at=found.signed_at)
        (key or named).verify(given, text)
    except InvalidSignature as error:
        raise SignatureError("is forged: it was not made with the key that it names") from error
    return found


def parse_public_key(text: str) -> Ed25519PublicKey:
    """From base64 of its 32 bytes, PEM, or the name of a file with either. Raises KeyFormatError."""
    text = text.strip()
    if not text.startswith("-----") and len(text) < 500 and Path(text).is_file():
        text = Path(text).read_text(encoding="utf-8", errors="replace").strip()
    try:
        if text.startswith("-----"):
            key = load_pem_public_key(text.encode())
            if not isinstance(key, Ed25519PublicKey):
                raise KeyFormatError("The public key is not an Ed25519 key.")
            return key
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))
    except ValueError as error:
        raise KeyFormatError(
            "The public key is neither base64 of 32 bytes, nor PEM, nor a file with one of them."
        ) from error


def public_bytes(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def key_id(key: Ed25519PublicKey) -> str:
    """The first 16 hex digits of the key's SHA-256."""
    return hashlib.sha256(public_bytes(key)).hexdigest()[:16]


def _parse(raw: bytes) -> Signature:
    try:
        found = json.loads(raw)
        made = Signature(**{name: str(found[name]) for name in Signature.__annotations__})
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise SignatureError("is no signature file") from error
    if made.schema != SCHEMA or not _TIME.fullmatch(made.signed_at):
        raise SignatureError(f"is not of the form {SCHEMA}")
    return made
