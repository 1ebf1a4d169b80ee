"""A certificate beside an export: a signed JSON document that names the root whose records it speaks of."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from reasonmed_verify.drawing import RULE, draw_sample, draw_strata
from reasonmed_verify.manifest import CERTIFICATE, CERTIFICATE_SIGNATURE, MAX_BYTES, PROVENANCE, Manifest
from reasonmed_verify.records import UnreadableError, read_leaves
from reasonmed_verify.signature import SignatureError, check_signature

SCHEMA = "reasonmed-certificate/1"
LARGEST = 10_000_000  # records or known faults; more is not ours, and would keep the reader waiting
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
        drawn = _draw_again(folder, manifest, said["drawing"])
        judged, wrong = list(said["judged"]["records"]), list(said["judged"]["wrong"])
        sequential = said["plan"]["kind"] == "sequential"
        if judged != drawn[: len(judged)] or (len(judged) < len(drawn) and not sequential):
            raise CertificateError(f"{CERTIFICATE}: its records are not those that its seed draws")
        if len(set(wrong)) != len(wrong) or not set(wrong) <= set(judged):
            raise CertificateError(f"{CERTIFICATE}: records are counted as wrong that were not judged")
        return (
            f"certificate: its {len(judged):,} records are those that its seed draws, {len(wrong):,} of them wrong",
            *_bound(said, len(judged), len(wrong)),
        )
    except _DAMAGED as error:
        raise CertificateError(f"{CERTIFICATE}: what it tells of its sample cannot be read") from error


def _draw_again(folder: Path, manifest: Manifest, drawing: dict[str, Any]) -> list[int]:
    size, seed, by = int(drawing["size"]), str(drawing["seed"]), drawing["by"]
    if drawing["rule"] != RULE:
        raise CertificateError(f"{CERTIFICATE}: its sample was drawn in a way that this program does not know")
    if manifest.root not in seed:
        raise CertificateError(f"{CERTIFICATE}: its seed was not bound to these records")
    if not 0 < size <= manifest.records <= LARGEST:
        raise CertificateError(f"{CERTIFICATE}: its sample is larger than the export")
    if by is None:
        return draw_sample(manifest.records, size, seed=seed)
    sizes = {str(stratum["name"]): int(stratum["drawn"]) for stratum in drawing["strata"]}
    return draw_strata(_strata(folder, manifest, str(by)), sizes, seed=seed)


def _strata(folder: Path, manifest: Manifest, by: str) -> list[str]:
    """The stratum of each record, by its number, as the trail tells it."""
    trail = next((s for s in manifest.sets if s.name == PROVENANCE), None)
    if trail is None:
        raise CertificateError(f"{CERTIFICATE}: its strata cannot be looked up without {PROVENANCE}")
    try:
        return [str(json.loads(line)[by]) for file in trail.files for line in read_leaves(folder / file.path)]
    except (UnreadableError, OSError) as error:
        raise CertificateError(f"{CERTIFICATE}: its strata cannot be looked up: {PROVENANCE} {error}") from error


def _bound(said: dict[str, Any], judged: int, wrong: int) -> tuple[str, ...]:
    """Works the bound out again where that is a binomial one of a single sample; others are left to the reader."""
    plan, misses, bound = said["plan"], said["misses"], said["bound"]
    holds = bound is not None and bound <= said["target"]
    if plan["kind"] != "sequential" and bool(said["holds"]) != holds:
        raise CertificateError(f"{CERTIFICATE}: whether it holds does not follow from its bound")
    if plan["kind"] != "acceptance" or (plan["finite"] and not misses):
        return ()
    level = float(said["confidence"])
    found = 1.0
    if misses is None:
        found = highest_rate(wrong, judged, level)
    else:
        half = (1 + level) / 2
        missed = min(1.0, float(misses["spread"]) * highest_rate(int(misses["missed"]), int(misses["known"]), half))
        if missed < 1:
            found = min(1.0, highest_rate(wrong, judged, half) / (1 - missed))
    if not math.isclose(found, float(bound), rel_tol=1e-6):
        raise CertificateError(f"{CERTIFICATE}: its bound is not the one that its counts give")
    return (f"certificate: its bound of {100 * found:.3g} % was worked out again",)


def highest_rate(faults: int, n: int, confidence: float) -> float:
    """The one-sided upper limit of Clopper and Pearson: the rate at which so few faults have a chance of 1 − confidence."""
    if not 0 <= faults <= n <= LARGEST:
        raise ValueError("No more faults than records.")
    if faults == n:
        return 1.0
    low, high = faults / n, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _binomial_cdf(faults, n, middle) > 1 - confidence else (low, middle)
    return high


def _binomial_cdf(faults: int, n: int, rate: float) -> float:
    if rate <= 0 or rate >= 1:
        return 1.0 if rate <= 0 else float(faults >= n)
    up, down, total = math.log(rate), math.log1p(-rate), 0.0
    for k in range(faults + 1):
        ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
        total += math.exp(ways + k * up + (n - k) * down)
    return min(1.0, total)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)
