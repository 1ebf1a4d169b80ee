"""Lines to copy from an export's page: to fetch it, check it, and load it with the tools of the field. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apps.exports.forms.sets import SetFiles, sets_of
from apps.exports.writers import FileEntry


@dataclass(frozen=True, slots=True)
class Snippet:
    name: str  # of the element it stands in
    title: str
    note: str
    code: str


def snippets_of(
    manifest: Mapping[str, Any],
    *,
    folder: str,
    files: Sequence[FileEntry],
    base: str,
    cookie: str,
) -> list[Snippet]:
    """`files`: everything there is to fetch, below the address `base`; `folder`: ./name."""
    proven = "merkle" in manifest  # exports from before have no root
    first = next(sets_of(manifest), None) if proven else None
    sums = "".join(f"{f['sha256']}  {f['path']}\n" for f in files)
    note = (
        "In the folder: reasonmed-verify needs no workbench; sha256sum looks at the files alone."
        if proven
        else "In the folder."
    )
    checks = "reasonmed-verify .\n\n" if proven else ""
    return [
        *(_loaders(manifest, first, folder) if first else []),
        Snippet(
            "fetch", "Fetch it with curl", _fetch_note(cookie), _curl([f["path"] for f in files], base, folder, cookie)
        ),
        Snippet("check", "Check it", note, f"{checks}sha256sum --check - <<'END'\n{sums}END"),
    ]


def _loaders(manifest: Mapping[str, Any], first: SetFiles, folder: str) -> list[Snippet]:
    path, name = json.dumps(folder), json.dumps(first.name)
    loaders = [
        Snippet(
            "datasets",
            "datasets",
            "Keep all files in one folder: the card tells which belong to which set.",
            f"from datasets import load_dataset\n\nds = load_dataset({path}, {name}, split=\"train\")\nprint(ds.num_rows)  # {first.records}",
        ),
        Snippet("pandas", "pandas", "", f"import pandas as pd\n\n{_pandas(first, folder)}\nprint(len(df))  # {first.records}"),
        Snippet("polars", "polars", "", f"import polars as pl\n\n{_polars(first, folder)}\nprint(df.height)  # {first.records}"),
    ]  # fmt: skip
    if any(f["path"] == "dataset_info.json" for f in manifest.get("extras", ())):
        loaders.append(
            Snippet(
                "llama-factory",
                "LLaMA-Factory",
                "In the training configuration; dataset_info.json in the folder describes every set.",
                f"dataset_dir: {folder}\ndataset: {first.name}",
            )
        )
    return loaders


def _pandas(found: SetFiles, folder: str) -> str:
    if found.format != "parquet":
        return f"df = pd.read_json({json.dumps(f'{folder}/{found.files[0]}')}, lines=True)"
    if len(found.files) == 1:
        return f"df = pd.read_parquet({json.dumps(f'{folder}/{found.files[0]}')})"
    pattern = json.dumps(found.pattern)
    return f"from pathlib import Path\n\ndf = pd.concat(map(pd.read_parquet, sorted(Path({json.dumps(folder)}).glob({pattern}))))"


def _polars(found: SetFiles, folder: str) -> str:
    path = json.dumps(f"{folder}/{found.pattern}")
    return f"df = pl.read_parquet({path})" if found.format == "parquet" else f"df = pl.scan_ndjson({path}).collect()"


def _fetch_note(cookie: str) -> str:
    return (
        f"Run again, it goes on where it stopped. SESSION is the value of your browser's cookie {cookie} while you are signed in: "
        "as secret as your password."
    )


def _curl(names: Sequence[str], base: str, folder: str, cookie: str) -> str:
    """Under a passing name until it is whole: curl fails on a file that has nothing left to fetch."""
    listed = " \\\n  ".join(names)
    return (
        f"mkdir -p {folder} && cd {folder}\n"
        f"base={base}\n"
        f"for file in \\\n  {listed}\ndo\n"
        '  [ -f "$file" ] || {\n'
        f'    curl --fail --location --retry 5 --continue-at - --cookie "{cookie}=$SESSION" \\\n'
        '      --output "$file.part" "$base/$file" && mv "$file.part" "$file"\n'
        "  }\ndone"
    )
