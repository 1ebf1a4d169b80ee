"""Signed exports without a database: real writers, manifest and signature, made-up records."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from apps.exports.proof.manifest import merkle_section
from apps.exports.proof.signing import SigningKey
from apps.exports.writers import Format, JsonlWriter, open_writer

SEED = bytes(range(32))
KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(SEED))
OTHER = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(32)))
ENV = base64.b64encode(SEED).decode()
RECORDS = 11


def make_export(
    folder: Path,
    *,
    format: Format = "jsonl",
    key: SigningKey | None = KEY,
    records: int = RECORDS,
    shard_bytes: int = 240,
) -> dict[str, Any]:
    """Two sets and their trail; the Parquet ones in several shards. Returns the manifest."""
    folder.mkdir(parents=True)
    sets = [open_writer(folder, name, format, shard_bytes=shard_bytes) for name in ("reasonmed", "cotmed")]
    trail = JsonlWriter(folder, "provenance")
    for n in range(records):
        for writer in sets:
            text = f"Why {n}?\n\tA “quoted”\u2028 \\ \x00 \x7f 😀 line"
            writer.write({"instruction": text, "input": "", "output": f"{writer.name} {n} " + "x" * 40})
        tier = ("easy", "medium", "difficult")[n % 3]
        trail.write({"record": n, "question": f"medqa-{n // 2}", "slot": n % 2 + 1, "temperature": 0.7, "tier": tier})
    made = [(writer, writer.finish()) for writer in (*sets, trail)]
    (folder / "README.md").write_text("# A card\n")
    manifest = {
        "schema": "reasonmed-export/1",
        "records": records,
        "files": [file for _, files in made for file in files],
        "card": entry(folder / "README.md"),
        "merkle": merkle_section(made),
        "signed_by": key.id if key else None,
    }
    save(folder, manifest, key)
    return manifest


def save(folder: Path, manifest: dict[str, Any], key: SigningKey | None) -> None:
    data = json.dumps(manifest, indent=2).encode()
    (folder / "manifest.json").write_bytes(data)
    if key:
        (folder / "manifest.sig").write_bytes(key.sign(data, file="manifest.json"))


def entry(path: Path, records: int = 0) -> dict[str, Any]:
    data = path.read_bytes()
    return {"path": path.name, "sha256": hashlib.sha256(data).hexdigest(), "records": records, "bytes": len(data)}
