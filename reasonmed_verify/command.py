"""The command `reasonmed-verify`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from reasonmed_verify.checks import check_folder
from reasonmed_verify.manifest import PROVENANCE
from reasonmed_verify.signature import KeyFormatError, parse_public_key

MARKS = {"ok": "ok      ", "note": "note    ", "problem": "PROBLEM "}


def main(arguments: Sequence[str] | None = None) -> int:
    """0: all is as the manifest says; 1: it is not, one line for each problem; 2: called in a wrong way."""
    parser = argparse.ArgumentParser(
        prog="reasonmed-verify",
        description="Checks an export of the ReasonMed Workbench: signature, files, counts, the Merkle root over its records.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="the export's folder, with its manifest.json")
    parser.add_argument("--record", metavar="ID", help="also prove one record: its place from 0, or <question>/<slot>")
    parser.add_argument("--set", metavar="SET", default=PROVENANCE, help="… of this set, where it counts on its own")
    parser.add_argument("--key", metavar="PUBKEY", help="the publisher's Ed25519 key: base64, PEM, or a file with one")
    parser.add_argument("--quiet", action="store_true", help="print problems only")
    asked = parser.parse_args(arguments)
    if not asked.folder.is_dir():
        parser.error(f"{asked.folder}: no such folder")
    try:
        key = parse_public_key(asked.key) if asked.key else None
    except (KeyFormatError, OSError) as error:
        parser.error(f"--key: {error}")
    problems = 0
    for finding in check_folder(asked.folder, key=key, record=asked.record, of=asked.set):
        problems += finding.kind == "problem"
        if finding.kind == "problem" or not asked.quiet:
            print(MARKS[finding.kind] + finding.text, flush=True)
    if problems:
        print(f"{asked.folder}: {problems} problem{'s' if problems > 1 else ''}", file=sys.stderr)
    return int(problems > 0)
