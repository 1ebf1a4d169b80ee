"""`reasonmed-verify` on exports with further files and with sets that count on their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from apps.exports.proof.manifest import merkle_section
from apps.exports.writers import JsonlWriter
from reasonmed_verify.checks import check_folder
from tests.exports.proof_world import KEY, RECORDS, entry, save

PAIRS = 4
TRAIL = "provenance_preferences"


def make_export(folder: Path, *, key=KEY) -> dict:
    """One set with its trail, pairs with theirs, and two further files."""
    folder.mkdir(parents=True)
    made = []
    for name, count in (("cotmed", RECORDS), ("provenance", RECORDS), ("preferences", PAIRS), (TRAIL, PAIRS)):
        writer = JsonlWriter(folder, name)
        for n in range(count):
            writer.write({"record": n, "question": f"medqa-{n // 2}", "slot": n % 2 + 1, "of": name})
        made.append((writer, writer.finish()))
    (folder / "README.md").write_text("# A card\n")
    (folder / "CITATION.cff").write_text("cff-version: 1.2.0\n")
    (folder / "cotmed.csv").write_text("a,b\n")
    manifest = {
        "schema": "reasonmed-export/1",
        "records": RECORDS,
        "files": [file for _, files in made for file in files],
        "card": entry(folder / "README.md"),
        "extras": [entry(folder / "CITATION.cff"), entry(folder / "cotmed.csv", RECORDS)],
        "merkle": merkle_section(made, trails={"preferences": TRAIL, TRAIL: TRAIL}),
        "signed_by": key.id,
    }
    save(folder, manifest, key)
    return manifest


@pytest.fixture
def export(tmp_path) -> tuple[Path, dict]:
    return tmp_path / "x", make_export(tmp_path / "x")


def problems(folder: Path, **asked) -> list[str]:
    return [f.text for f in check_folder(folder, **asked) if f.kind == "problem"]


def said(folder: Path, **asked) -> list[str]:
    return [f.text for f in check_folder(folder, **asked) if f.kind == "ok"]


def test_further_files_and_sets_of_other_sizes_are_accepted(export):
    folder, manifest = export

    assert problems(folder) == []
    told = said(folder)
    assert told[0] == "3 files beside the sets"
    assert [line.split(":")[0] for line in told[1:5]] == ["cotmed", "provenance", "preferences", TRAIL]
    assert f"preferences: {PAIRS} records" in told[3]
    assert told[5].startswith(f"root {manifest['merkle']['root']} over 4 sets")


@pytest.mark.parametrize("name", ["CITATION.cff", "cotmed.csv", "README.md"])
def test_a_further_file_changed_or_gone_is_told(export, name):
    folder, _ = export
    text = (folder / name).read_text()
    (folder / name).write_text(text.replace("a", "b", 1).replace("f", "g", 1))
    assert problems(folder) == [f"{name}: was changed: its sha256 is not the manifest's"]

    (folder / name).unlink()
    assert problems(folder) == [f"{name}: is missing"]


def test_a_further_file_that_the_manifest_does_not_name_is_told(export):
    folder, manifest = export
    dropped = manifest["extras"].pop()
    save(folder, manifest, KEY)

    assert problems(folder) == [f"{dropped['path']}: is not in the manifest"]


def as_a_data_file(m):
    m["extras"][0]["path"] = "cotmed.jsonl"


def as_the_card(m):
    m["extras"][0]["path"] = "README.md"


def as_the_manifest(m):
    m["extras"][0]["path"] = "manifest.json"


def outside(m):
    m["extras"][0]["path"] = "../../etc/passwd"


def no_list(m):
    m["extras"] = None


@pytest.mark.parametrize("change", [as_a_data_file, as_the_card, as_the_manifest, outside, no_list])
def test_a_list_of_further_files_that_cannot_be_is_refused(export, change):
    folder, manifest = export
    change(manifest)
    save(folder, manifest, KEY)

    found = problems(folder)

    assert len(found) == 1
    assert found[0].startswith("manifest.json: is not a manifest that can be checked")


def test_a_set_on_its_own_has_as_many_records_as_its_trail(export):
    folder, manifest = export
    manifest["merkle"]["sets"][2]["trail"] = "provenance"
    save(folder, manifest, KEY)

    assert problems(folder) == ["manifest.json: its counts of records do not agree for preferences"]


def test_a_set_cannot_name_a_trail_that_is_not_there(export):
    folder, manifest = export
    manifest["merkle"]["sets"][2]["trail"] = "nowhere"
    save(folder, manifest, KEY)

    assert problems(folder) == ["manifest.json: its counts of records do not agree for preferences"]


def dropped(lines):
    return lines[1:]


def swapped(lines):
    return [lines[1], lines[0], *lines[2:]]


def changed(lines):
    return [lines[0].replace(b"medqa-0", b"medqa-7"), *lines[1:]]


@pytest.mark.parametrize("change", [dropped, swapped, changed])
@pytest.mark.parametrize("name", ["preferences", TRAIL])
def test_records_of_a_set_on_its_own_are_proven_too(export, change, name):
    folder, manifest = export
    path = folder / f"{name}.jsonl"
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))
    assert any(text.startswith(f"{name}.jsonl: ") for text in problems(folder))

    manifest["files"] = [entry(path, PAIRS) if f["path"] == path.name else f for f in manifest["files"]]
    save(folder, manifest, KEY)
    assert f"{name}: its records are not those of the manifest, or not in that order: the root differs" in problems(
        folder
    )


@pytest.mark.parametrize(("record", "place"), [("3", 3), ("medqa-1/2", 3)])
def test_one_record_of_a_set_on_its_own_is_proven(export, record, place):
    folder, _ = export

    proven = [line for line in said(folder, record=record, of="preferences") if "stands under the root" in line]

    assert [line.split(":")[0] for line in proven] == ["preferences", TRAIL]
    assert all(f"record {place} stands" in line for line in proven)


@pytest.mark.parametrize(("record", "of"), [("4", "preferences"), ("medqa-3/1", "preferences"), ("0", "nowhere")])
def test_one_that_is_not_there_is_told(export, record, of):
    folder, _ = export

    assert len(problems(folder, record=record, of=of)) == 1


def test_a_record_of_the_other_sets_needs_no_name(export):
    folder, _ = export

    proven = [line for line in said(folder, record="10") if "stands under the root" in line]

    assert [line.split(":")[0] for line in proven] == ["cotmed", "provenance"]


def test_a_certificate_beside_it_is_no_file_too_many(export):
    folder, manifest = export
    data = json.dumps(
        {"schema": "reasonmed-certificate/1", "root": manifest["merkle"]["root"], "sentence": "At most 1 %"}
    ).encode()
    (folder / "certificate.json").write_bytes(data)
    (folder / "certificate.sig").write_bytes(KEY.sign(data, file="certificate.json"))

    assert problems(folder) == []
    assert said(folder)[-1].endswith("At most 1 %")
