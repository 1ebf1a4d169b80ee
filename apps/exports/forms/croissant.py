"""`croissant.json`: the export described for machines (MLCommons Croissant 1.0, JSON-LD over schema.org)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from apps.exports.forms.citation import cite_as
from apps.exports.forms.sets import SetFiles, sets_of

CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
ENCODINGS = {
    "jsonl": "application/jsonlines",
    "jsonl.gz": "application/gzip",
    "jsonl.zst": "application/zstd",
    "parquet": "application/x-parquet",
}
TEXT, BOOLEAN = "sc:Text", "sc:Boolean"
COLUMNS: dict[str, dict[str, tuple[str, bool]]] = {  # column → (type, whether it is a list)
    "messages": {"messages": (TEXT, True)},  # each a turn, with the parts in PARTS
    "preferences": {"prompt": (TEXT, False), "chosen": (TEXT, False), "rejected": (TEXT, False)},
    "steps": {"prompt": (TEXT, False), "completions": (TEXT, True), "labels": (BOOLEAN, True)},
}
PARTS = {"messages/messages": ("role", "content")}
RECORD = {"instruction": (TEXT, False), "input": (TEXT, False), "output": (TEXT, False)}


def croissant(manifest: Mapping[str, Any], licences: Mapping[str, str]) -> bytes:
    """It has no date, like the rest of the export. `licences`: benchmark → licence of its questions."""
    sets = list(sets_of(manifest))
    described = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": manifest["run"],
        "description": (
            f"{manifest['records']:,} records of multiple-choice medical questions with judged reasoning"
            + (", made with simulated models" if manifest["simulated"] else "")
        ),
        "version": "1.0.0",
        "identifier": manifest["merkle"]["root"],
        "license": sorted({licence or "not recorded" for licence in licences.values()}),
        "creator": {"@type": "sc:Organization", "name": manifest["publisher"]},
        "citeAs": cite_as(manifest),
        "inLanguage": "en",
        "keywords": ["medical", "reasoning", *(["simulated"] if manifest["simulated"] else [])],
        "isLiveDataset": False,
        "distribution": [*_files(manifest), *_shards(sets)],
        "recordSet": [_record_set(found) for found in sets],
    }
    return (json.dumps(described, indent=2, ensure_ascii=False) + "\n").encode()


def _files(manifest: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    for file in manifest["files"]:
        trail = file["path"].startswith("provenance")
        yield {
            "@type": "cr:FileObject",
            "@id": file["path"],
            "name": file["path"],
            "contentUrl": file["path"],
            "contentSize": f"{file['bytes']} B",
            "encodingFormat": ENCODINGS["jsonl" if trail else manifest["format"]],
            "sha256": file["sha256"],
        }


def _shards(sets: Iterable[SetFiles]) -> Iterable[dict[str, Any]]:
    for found in sets:
        if found.format == "parquet":
            yield {
                "@type": "cr:FileSet",
                "@id": f"{found.name}-shards",
                "name": f"{found.name}-shards",
                "encodingFormat": ENCODINGS["parquet"],
                "includes": found.pattern,
            }


def _record_set(found: SetFiles) -> dict[str, Any]:
    columns = COLUMNS.get(found.name, RECORD)
    return {
        "@type": "cr:RecordSet",
        "@id": found.name,
        "name": found.name,
        "description": f"{found.title}: {found.records:,} records",
        "field": [_field(found, column, *kind) for column, kind in columns.items()],
    }


def _field(found: SetFiles, column: str, kind: str, repeated: bool) -> dict[str, Any]:
    source: dict[str, Any] = (
        {"fileSet": {"@id": f"{found.name}-shards"}}
        if found.format == "parquet"
        else {"fileObject": {"@id": found.files[0]}}
    ) | {"extract": {"column": column}}
    place = f"{found.name}/{column}"
    field = {"@type": "cr:Field", "@id": place, "name": column} | ({"repeated": True} if repeated else {})
    if place not in PARTS:
        return field | {"dataType": kind, "source": source}
    parts = {name: source | {"transform": {"jsonPath": f"$[*].{name}"}} for name in PARTS[place]}
    return field | {
        "subField": [
            {"@type": "cr:Field", "@id": f"{place}/{name}", "name": name, "dataType": kind, "source": of}
            for name, of in parts.items()
        ]
    }
