"""Signing what leaves, with the installation's Ed25519 key. Without one, exports are unsigned and say so."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from apps.exports.errors import ExportRefusedError
from reasonmed_verify.signature import SCHEMA, Signature, key_id, public_bytes, signed_text

VARIABLE = "REASONMED_SIGNING_KEY"
MADE_BY = "Make one with: openssl genpkey -algorithm ed25519"


class SigningKeyError(ExportRefusedError):
    """The key in the environment is none. The message never holds any of it."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    private: Ed25519PrivateKey

    @property
    def id(self) -> str:
        return key_id(self.private.public_key())

    @property
    def public(self) -> str:
        """What is published: base64 of 32 bytes."""
        return base64.b64encode(public_bytes(self.private.public_key())).decode()

    def sign(self, data: bytes, *, file: str, at: datetime | None = None) -> bytes:
        """The signature file for `data`, the content of `file`; dated now where no time is given."""
        digest = hashlib.sha256(data).hexdigest()
        when = (at or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        signature = self.private.sign(signed_text(file=file, sha256=digest, signed_at=when))
        return Signature(
            schema=SCHEMA,
            file=file,
            sha256=digest,
            signed_at=when,
            key=self.id,
            public_key=self.public,
            signature=base64.b64encode(signature).decode(),
        ).to_json()


def signing_key() -> SigningKey | None:
    """From REASONMED_SIGNING_KEY: PEM (its line ends may be written as \\n) or base64 of the 32 bytes; None when empty.

    Raises SigningKeyError.
    """
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return None
    return SigningKey(_from_pem(text) if text.startswith("-----") else _from_base64(text))


def _from_pem(text: str) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(text.replace("\\n", "\n").encode(), password=None)
    except TypeError as error:
        raise SigningKeyError(f"{VARIABLE}: the key is protected by a passphrase; give it without one.") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SigningKeyError(f"{VARIABLE}: looks like PEM, but holds no private key. {MADE_BY}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningKeyError(f"{VARIABLE}: is a key of another kind; Ed25519 is needed. {MADE_BY}")
    return key


def _from_base64(text: str) -> Ed25519PrivateKey:
    try:
        seed = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise SigningKeyError(f"{VARIABLE}: is neither PEM nor base64. {MADE_BY}") from error
    if len(seed) != 32:
        raise SigningKeyError(f"{VARIABLE}: is base64 of {len(seed)} bytes; an Ed25519 key has 32. {MADE_BY}")
    return Ed25519PrivateKey.from_private_bytes(seed)
