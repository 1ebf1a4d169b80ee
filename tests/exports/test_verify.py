"""`reasonmed-verify` accepts what was exported and refuses, with its reason, what was tampered with."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from django.urls import reverse

from apps.exports.build import Limits, build_export
from apps.exports.checks import check_signing_key
from apps.exports.errors import ExportRefusedError
from apps.exports.proof.signing import SigningKeyError, signing_key
from apps.exports.records import VARIANTS
from apps.exports.services import build_queued_exports, create_export
from reasonmed_verify.command import main
from reasonmed_verify.signature import check_signature, parse_public_key
from tests.exports.proof_world import ENV, KEY, OTHER, RECORDS, entry, make_export, save
from tests.factories import make_finished_run, make_user

FORMATS = ("jsonl", "parquet")


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("REASONMED_SIGNING_KEY", raising=False)


@pytest.fixture
def verify(capsys):
    """(exit code, problems, other lines)"""

    def verify(folder: Path, *arguments: str) -> tuple[int, list[str], list[str]]:
        code = main([str(folder), *arguments])
        lines = capsys.readouterr().out.splitlines()
        problems = [line.removeprefix("PROBLEM ") for line in lines if line.startswith("PROBLEM ")]
        return code, problems, [line for line in lines if not line.startswith("PROBLEM ")]

    return verify


# --- accepted


@pytest.mark.parametrize("format", FORMATS)
def test_what_was_exported_is_accepted(tmp_path, verify, format):
    manifest = make_export(tmp_path / "x", format=format)

    code, problems, said = verify(tmp_path / "x", "--key", KEY.public)

    assert (code, problems) == (0, [])
    assert said[0].startswith(f"ok      signed by the key {KEY.id} at 20")
    assert said[1:4] == [f"ok      {s['set']}: {RECORDS} records, root {s['root']}" for s in manifest["merkle"]["sets"]]
    assert said[4] == f"ok      root {manifest['merkle']['root']} over 3 sets of {RECORDS} records"


def test_the_root_is_the_same_in_both_formats(tmp_path):
    made = [make_export(tmp_path / format, format=format) for format in FORMATS]

    assert len([f for f in made[1]["files"] if f["path"].startswith("cotmed")]) > 1
    assert made[0]["merkle"]["root"] == made[1]["merkle"]["root"]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_compressed_lines_have_the_root_of_plain_ones(tmp_path, verify, suffix):
    manifest = make_export(tmp_path / "x")
    plain = tmp_path / "x" / "cotmed.jsonl"
    packed = plain.with_name(plain.name + suffix)
    packed.write_bytes((gzip if suffix == ".gz" else zstandard).compress(plain.read_bytes()))
    plain.unlink()
    rename(manifest, "cotmed.jsonl", entry(packed, RECORDS))
    save(tmp_path / "x", manifest, KEY)

    assert verify(tmp_path / "x", "--key", KEY.public)[:2] == (0, [])

    packed.write_bytes(packed.read_bytes()[:-20])
    rename(manifest, packed.name, entry(packed, RECORDS))
    save(tmp_path / "x", manifest, KEY)
    code, problems, _ = verify(tmp_path / "x")
    assert code == 1
    assert {p.split(":")[0] for p in problems} <= {packed.name, "cotmed"}


def rename(manifest, old, new):
    manifest["files"] = [new if f["path"] == old else f for f in manifest["files"]]
    for s in manifest["merkle"]["sets"]:
        s["files"] = [new["path"] if name == old else name for name in s["files"]]


def test_without_a_key_the_signature_is_checked_and_its_key_named(tmp_path, verify):
    make_export(tmp_path / "x")

    code, problems, said = verify(tmp_path / "x")

    assert (code, problems) == (0, [])
    assert said[0].startswith(f"note    signed by the key {KEY.id}")
    assert "compare this key id" in said[0]


def test_an_unsigned_export_says_so_and_is_no_answer_to_a_key(tmp_path, verify):
    make_export(tmp_path / "x", key=None)

    code, problems, said = verify(tmp_path / "x")

    assert (code, problems) == (0, [])
    assert said[0] == "note    not signed: nothing shows who made this export"
    assert verify(tmp_path / "x", "--key", KEY.public)[:2] == (
        1,
        ["manifest.sig: is missing: this export is not signed"],
    )


def test_an_empty_export_is_accepted(tmp_path, verify):
    make_export(tmp_path / "x", records=0, format="parquet")

    assert verify(tmp_path / "x")[:2] == (0, [])


# --- refused


def rewrite(path: Path, change) -> None:
    """Changes the list of records of a file, JSONL or Parquet."""
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        pq.write_table(pa.Table.from_pylist(change(table.to_pylist()), schema=table.schema), path, compression="zstd")
    else:
        path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))


def first_file(folder: Path, manifest, name="cotmed") -> Path:
    return folder / next(f["path"] for f in manifest["files"] if f["path"].startswith(name))


def drop(rows):
    return rows[1:]


def swap(rows):
    return [rows[1], rows[0], *rows[2:]]


def double(rows):
    return [rows[0], *rows]


def change_byte(rows):
    if isinstance(rows[0], bytes):
        return [rows[0].replace(b"cotmed 0", b"cotmed 8"), *rows[1:]]
    return [{**rows[0], "output": rows[0]["output"].replace("cotmed 0", "cotmed 8")}, *rows[1:]]


CHANGES = [change_byte, drop, swap, double]
by_name = pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)


@by_name
@pytest.mark.parametrize("format", FORMATS)
def test_changed_records_are_refused(tmp_path, verify, format, change):
    manifest = make_export(tmp_path / "x", format=format)
    path = first_file(tmp_path / "x", manifest)
    rewrite(path, change)

    code, problems, _ = verify(tmp_path / "x", "--key", KEY.public)

    assert code == 1
    assert any(p.startswith(f"{path.name}: ") for p in problems)
    assert "cotmed: its records are not those of the manifest, or not in that order: the root differs" in problems


@by_name
@pytest.mark.parametrize("format", FORMATS)
def test_the_root_refuses_them_when_the_checksums_were_made_to_fit(tmp_path, verify, format, change):
    manifest = make_export(tmp_path / "x", format=format, key=None)
    path = first_file(tmp_path / "x", manifest)
    old = next(f for f in manifest["files"] if f["path"] == path.name)
    rewrite(path, change)
    rename(manifest, path.name, entry(path, old["records"]))
    save(tmp_path / "x", manifest, None)

    code, problems, _ = verify(tmp_path / "x")

    assert code == 1
    assert problems[-1].startswith("cotmed: its records are not those")


@pytest.mark.parametrize("forger", [None, OTHER], ids=["old signature", "signed by another"])
def test_the_signature_refuses_them_when_everything_else_was_made_to_fit(tmp_path, verify, forger):
    """The whole export is made again with other records, as the forger would."""
    make_export(tmp_path / "x")
    honest = (tmp_path / "x" / "manifest.sig").read_bytes()
    manifest = make_export(tmp_path / "forged", records=RECORDS - 1, key=forger)
    if forger is None:
        manifest["signed_by"] = KEY.id
        save(tmp_path / "forged", manifest, None)
        (tmp_path / "forged" / "manifest.sig").write_bytes(honest)

    code, problems, _ = verify(tmp_path / "forged", "--key", KEY.public)

    assert (code, len(problems)) == (1, 1)
    assert problems[0].startswith("manifest.sig: ")


def flip_signature(said):
    made = bytearray(said["signature"].encode())
    made[10] = ord("A") if made[10] != ord("A") else ord("B")
    return {**said, "signature": made.decode()}


def other_time(said):
    return {**said, "signed_at": "2020-01-01T00:00:00Z"}


def other_key(said):
    return {**said, "public_key": OTHER.public, "key": OTHER.id}


def other_id(said):
    return {**said, "key": OTHER.id}


def other_file(said):
    return {**said, "file": "certificate.json"}


def other_schema(said):
    return {**said, "schema": "x"}


def no_signature(said):
    return {k: v for k, v in said.items() if k != "signature"}


def no_base64(said):
    return {**said, "signature": "%"}


def a_list(said):
    return [said]


@pytest.mark.parametrize("forge", [
    flip_signature, other_time, other_key, other_id, other_file, other_schema, no_signature, no_base64, a_list,
], ids=lambda forge: forge.__name__)  # fmt: skip
@pytest.mark.parametrize("arguments", [(), ("--key", KEY.public)], ids=["", "key"])
def test_a_forged_signature_is_refused(tmp_path, verify, forge, arguments):
    make_export(tmp_path / "x")
    path = tmp_path / "x" / "manifest.sig"
    path.write_text(json.dumps(forge(json.loads(path.read_text()))))

    code, problems, _ = verify(tmp_path / "x", *arguments)

    assert (code, len(problems)) == (1, 1)
    assert problems[0].startswith("manifest.sig: ")


def test_a_signature_taken_away_is_missed(tmp_path, verify):
    make_export(tmp_path / "x")
    (tmp_path / "x" / "manifest.sig").unlink()

    assert verify(tmp_path / "x")[1] == [f"manifest.sig: is missing, though the manifest is signed by the key {KEY.id}"]


@pytest.mark.parametrize("name", ["cotmed.jsonl", "README.md", "provenance.jsonl"])
def test_a_missing_file_is_told_once(tmp_path, verify, name):
    make_export(tmp_path / "x")
    (tmp_path / "x" / name).unlink()

    assert verify(tmp_path / "x")[:2] == (1, [f"{name}: is missing"])


@pytest.mark.parametrize("name", ["cotmed-00009-of-00010.parquet", "data/more.jsonl", "load.py", "x\x1b[2J"])
def test_a_file_too_many_is_told(tmp_path, verify, name):
    """A loader finds files by pattern. Hidden ones, as git and hubs leave them, are no matter."""
    make_export(tmp_path / "x")
    for extra in (name, ".gitattributes", ".cache/x.lock"):
        (tmp_path / "x" / extra).parent.mkdir(exist_ok=True)
        (tmp_path / "x" / extra).write_text("")

    code, problems, _ = verify(tmp_path / "x")

    assert (code, problems) == (1, [f"{ascii(name)[1:-1]}: is not in the manifest"])


def climb(m):
    m["files"][0]["path"] = "../../etc/passwd"


def absolute(m):
    m["card"]["path"] = "/etc/passwd"


def false_root(m):
    m["merkle"]["root"] = "0" * 64


def false_count(m):
    m["records"] += 1


def false_file_count(m):
    m["files"][0]["records"] += 1


def listed_twice(m):
    m["files"].append(m["files"][0])


def outside_a_set(m):
    m["files"].append({**m["files"][0], "path": "more.jsonl"})


def of_two_sets(m):
    m["merkle"]["sets"][1]["files"] = m["merkle"]["sets"][0]["files"]


def set_twice(m):
    m["merkle"]["sets"].append({**m["merkle"]["sets"][0], "files": []})


def no_root(m):
    del m["merkle"]


def other_hash(m):
    m["merkle"]["hash"] = "md5"


def a_word_for_a_count(m):
    m["records"] = "many"


def escape_in_a_name(m):
    m["merkle"]["sets"][0]["set"] = "x\x1b[2J"


def escape_in_a_key(m):
    m["signed_by"] = "\x1b[2J"


def other_manifest(m):
    m["schema"] = "other"


@pytest.mark.parametrize("change", [
    climb, absolute, false_root, false_count, false_file_count, listed_twice, outside_a_set, of_two_sets, set_twice,
    no_root, other_hash, a_word_for_a_count, other_manifest, escape_in_a_name, escape_in_a_key,
], ids=lambda change: change.__name__)  # fmt: skip
def test_a_manifest_that_does_not_agree_with_itself_is_refused_even_signed(tmp_path, verify, change):
    manifest = make_export(tmp_path / "x")
    change(manifest)
    save(tmp_path / "x", manifest, KEY)

    code, problems, _ = verify(tmp_path / "x", "--key", KEY.public)

    assert (code, "passwd: is missing" in str(problems)) == (1, False)
    assert "\x1b" not in "".join(problems)


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path, verify):
    make_export(tmp_path / "x")
    (tmp_path / "x" / "cotmed.jsonl").unlink()
    os.mkfifo(tmp_path / "x" / "cotmed.jsonl")

    assert verify(tmp_path / "x")[:2] == (1, ["cotmed.jsonl: is no file"])


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", "[" * 100_000, "\xff"])
def test_a_manifest_that_is_none_is_refused(tmp_path, verify, text):
    make_export(tmp_path / "x")
    (tmp_path / "x" / "manifest.json").write_text(text, encoding="latin-1")

    code, problems, _ = verify(tmp_path / "x")

    assert (code, len(problems)) == (1, 1)
    assert problems[0].startswith("manifest.json: ")


def test_a_folder_without_manifest_is_refused(tmp_path, verify):
    assert verify(tmp_path)[:2] == (1, ["manifest.json: cannot be read: No such file or directory"])


@pytest.mark.parametrize("bad", [b"no parquet", b"PAR1" + bytes(50) + b"PAR1"])
def test_a_damaged_parquet_file_is_told_once(tmp_path, verify, bad):
    manifest = make_export(tmp_path / "x", format="parquet")
    path = first_file(tmp_path / "x", manifest)
    path.write_bytes(bad)
    rename(manifest, path.name, entry(path, 1))
    save(tmp_path / "x", manifest, KEY)

    code, problems, _ = verify(tmp_path / "x")

    assert (code, [p.split(":")[0] for p in problems]) == (1, [path.name])


def test_a_line_without_end_is_told(tmp_path, verify, monkeypatch):
    manifest = make_export(tmp_path / "x")
    path = tmp_path / "x" / "cotmed.jsonl"
    monkeypatch.setattr("reasonmed_verify.records.MAX_LINE", 20)

    assert "cotmed.jsonl: has a line that is too long or does not end" in verify(tmp_path / "x")[1]
    monkeypatch.undo()
    path.write_bytes(path.read_bytes()[:-1])
    rename(manifest, path.name, entry(path, RECORDS))
    save(tmp_path / "x", manifest, KEY)
    assert verify(tmp_path / "x")[1] == ["cotmed.jsonl: has a line that is too long or does not end"]


# --- one record


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(("record", "place"), [("0", 0), ("10", 10), ("medqa-2/2", 5)])
def test_a_single_record_is_proven(tmp_path, verify, format, record, place):
    make_export(tmp_path / "x", format=format)

    code, problems, said = verify(tmp_path / "x", "--record", record)

    assert (code, problems) == (0, [])
    proven = [line for line in said if "stands under the root" in line]
    assert [line.split(":")[0] for line in proven] == [f"ok      {n}" for n in ("reasonmed", "cotmed", "provenance")]
    assert all(f"record {place} stands" in line for line in proven)


@pytest.mark.parametrize("record", ["11", "medqa-99/1", "medqa-2/3", "nonsense", "", "-1", "²"])
def test_a_record_that_is_not_there_is_told(tmp_path, verify, record):
    make_export(tmp_path / "x")

    code, problems, _ = verify(tmp_path / "x", "--record", record)

    assert (code, len(problems)) == (1, 1)


def test_a_record_of_a_false_root_is_not_proven(tmp_path, verify):
    manifest = make_export(tmp_path / "x")
    false_root(manifest)
    save(tmp_path / "x", manifest, KEY)

    assert any("is not proven" in p for p in verify(tmp_path / "x", "--record", "3")[1])


# --- a certificate beside it


def certify(folder: Path, key=KEY, **changes) -> None:
    root = json.loads((folder / "manifest.json").read_text())["merkle"]["root"]
    said = {
        "schema": "reasonmed-certificate/1",
        "root": root,
        "sentence": "At most 1 % …\x1b[2J",
        "drawn": 299,
    } | changes
    data = json.dumps(said).encode()
    (folder / "certificate.json").write_bytes(data)
    (folder / "certificate.sig").write_bytes(key.sign(data, file="certificate.json"))


def test_a_certificate_of_these_records_is_told(tmp_path, verify):
    make_export(tmp_path / "x")
    certify(tmp_path / "x")

    for arguments in ((), ("--key", KEY.public)):
        code, problems, said = verify(tmp_path / "x", *arguments)
        assert (code, problems) == (0, [])
        assert said[-1] == f"ok      certificate signed by the key {KEY.id}: At most 1 % …?[2J"


def test_with_a_key_a_certificate_may_stand_beside_an_unsigned_manifest_only_as_a_problem(tmp_path, verify):
    make_export(tmp_path / "x", key=None)
    certify(tmp_path / "x")

    assert verify(tmp_path / "x")[1] == [
        f"certificate.sig: was made with the key {KEY.id}, which is not the manifest's"
    ]
    assert verify(tmp_path / "x", "--key", KEY.public)[1] == ["manifest.sig: is missing: this export is not signed"]


def of_other_records(folder):
    certify(folder, root="0" * 64)


def by_someone_else(folder):
    certify(folder, key=OTHER)


def of_another_form(folder):
    certify(folder, schema="other")


def not_signed(folder):
    certify(folder)
    (folder / "certificate.sig").unlink()


def signature_alone(folder):
    certify(folder)
    (folder / "certificate.json").unlink()


def better_words(folder):
    certify(folder)
    path = folder / "certificate.json"
    path.write_bytes(path.read_bytes().replace(b"1 %", b"0 %"))


def signature_of_the_manifest(folder):
    certify(folder)
    (folder / "certificate.sig").write_bytes((folder / "manifest.sig").read_bytes())


def no_object(folder):
    (folder / "certificate.json").write_bytes(b"[]")
    (folder / "certificate.sig").write_bytes(KEY.sign(b"[]", file="certificate.json"))


@pytest.mark.parametrize("forge", [
    of_other_records, by_someone_else, of_another_form, not_signed, signature_alone, better_words,
    signature_of_the_manifest, no_object,
], ids=lambda forge: forge.__name__)  # fmt: skip
@pytest.mark.parametrize("arguments", [(), ("--key", KEY.public)], ids=["", "key"])
def test_a_certificate_that_does_not_stand_for_it_is_refused(tmp_path, verify, forge, arguments):
    make_export(tmp_path / "x")
    forge(tmp_path / "x")

    code, problems, _ = verify(tmp_path / "x", *arguments)

    assert (code, len(problems)) == (1, 1)
    assert problems[0].startswith("certificate.")


# --- the command


def test_the_command_needs_no_django(tmp_path):
    make_export(tmp_path / "x", format="parquet")
    code = (
        "import sys\nclass No:\n def find_spec(self, name, *rest):\n"
        "  if name.split('.')[0] in ('django', 'apps', 'orjson'): raise ImportError(name)\n"
        "sys.meta_path.insert(0, No())\nfrom reasonmed_verify.command import main\n"
        f"sys.exit(main([{str(tmp_path / 'x')!r}]))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")


def test_problems_alone_with_quiet(tmp_path, verify):
    make_export(tmp_path / "x")

    assert verify(tmp_path / "x", "--quiet") == (0, [], [])


@pytest.mark.parametrize("arguments", [["nowhere"], [".", "--key", "abc"], []])
def test_a_wrong_call_is_2(arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert ended.value.code == 2


def test_a_key_is_taken_in_any_form(tmp_path, verify):
    make_export(tmp_path / "x")
    public = KEY.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    (tmp_path / "key.pem").write_text(public)

    for given in (KEY.public, public, str(tmp_path / "key.pem")):
        assert verify(tmp_path / "x", "--key", given)[:2] == (0, [])
    assert verify(tmp_path / "x", "--key", OTHER.public)[0] == 1


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_memory_does_not_grow_with_the_records(tmp_path, verify, format, monkeypatch):
    monkeypatch.setattr("reasonmed_verify.records.BATCH_ROWS", 64)

    def peak(records: int) -> int:
        make_export(tmp_path / str(records), format=format, records=records, shard_bytes=50_000)
        tracemalloc.start()
        try:
            assert verify(tmp_path / str(records), "--record", "7")[0] == 0
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(100)
    assert peak(6_000) < peak(600) + 500_000


# --- the key of the installation


def pem(key, encryption=None) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()).decode()


@pytest.mark.parametrize("text", [ENV, f" {ENV}\n", pem(KEY.private), pem(KEY.private).replace("\n", "\\n")])
def test_the_signing_key_is_read_in_both_forms(monkeypatch, text):
    monkeypatch.setenv("REASONMED_SIGNING_KEY", text)

    found = signing_key()

    assert found is not None
    assert (found.id, found.public) == (KEY.id, KEY.public)
    made = check_signature(found.sign(b"data", file="x"), file="x", data=b"data", key=parse_public_key(KEY.public))
    assert made.key == KEY.id


@pytest.mark.parametrize("text", ["", "  "])
def test_no_key_no_signature(monkeypatch, text):
    monkeypatch.setenv("REASONMED_SIGNING_KEY", text)

    assert signing_key() is None
    assert check_signing_key() == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hunter2!", "neither PEM nor base64"),
        ("aHVudGVyMg==", "base64 of 7 bytes"),
        ("ключ", "neither PEM nor base64"),
        ("-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----", "holds no private key"),
        (pem(rsa.generate_private_key(65537, 1024)), "another kind"),
        (pem(KEY.private, BestAvailableEncryption(b"x")), "passphrase"),
    ],
)
def test_a_key_that_is_none_is_told_without_its_text(monkeypatch, text, said):
    monkeypatch.setenv("REASONMED_SIGNING_KEY", text)

    with pytest.raises(SigningKeyError, match=said) as told:
        signing_key()

    assert "REASONMED_SIGNING_KEY" in str(told.value)
    assert "hunter2" not in str(told.value)
    assert [e.id for e in check_signing_key()] == ["exports.E001"]


# --- exports as they are built


@pytest.mark.django_db
@pytest.mark.parametrize("format", FORMATS)
def test_a_built_export_is_signed_and_accepted(tmp_path, verify, monkeypatch, format):
    monkeypatch.setenv("REASONMED_SIGNING_KEY", ENV)
    run, limits = make_finished_run(8), Limits(shard_bytes=400)

    manifest, again = (
        build_export(run=run, variants=VARIANTS, format=format, out_dir=tmp_path / n, limits=limits) for n in "ab"
    )

    assert manifest == again
    assert manifest["signed_by"] == KEY.id
    assert [(s["set"], s["records"]) for s in manifest["merkle"]["sets"]] == [
        (name, manifest["records"]) for name in (*VARIANTS, "provenance")
    ]
    assert verify(tmp_path / "a", "--key", KEY.public, "--record", "0")[:2] == (0, [])
    over = build_export(run=run, variants=VARIANTS, format=format, out_dir=tmp_path / "a")
    assert over["merkle"]["root"] == manifest["merkle"]["root"]


@pytest.mark.django_db
def test_both_formats_of_a_run_have_one_root_and_an_unsigned_one_says_so(tmp_path, verify):
    run = make_finished_run(3)

    made = [build_export(run=run, variants=VARIANTS, format=f, out_dir=tmp_path / f) for f in FORMATS]

    assert made[0]["merkle"]["root"] == made[1]["merkle"]["root"]
    assert [m["signed_by"] for m in made] == [None, None]
    assert not (tmp_path / "jsonl" / "manifest.sig").exists()
    assert verify(tmp_path / "jsonl")[0] == 0


@pytest.mark.django_db
def test_a_malformed_key_stops_the_build_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setenv("REASONMED_SIGNING_KEY", "nonsense")

    with pytest.raises(ExportRefusedError, match="REASONMED_SIGNING_KEY"):
        build_export(run=make_finished_run(1), variants=VARIANTS, format="jsonl", out_dir=tmp_path / "out")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.django_db
@pytest.mark.parametrize("key", [ENV, ""], ids=["signed", "unsigned"])
def test_the_page_shows_the_root_and_who_signed(client, settings, tmp_path, monkeypatch, key):
    settings.EXPORT_DIR = tmp_path / "exports"
    monkeypatch.setenv("REASONMED_SIGNING_KEY", key)
    made = create_export(run=make_finished_run(2), variants=["cotmed"], format="jsonl")
    build_queued_exports()
    made.refresh_from_db()
    client.force_login(make_user("clinician"))

    page = client.get(reverse("export", args=(made.pk,))).content.decode()
    signature = client.get(reverse("export_file", args=(made.pk, "manifest.sig")))

    assert made.manifest["merkle"]["root"] in page
    assert (f"Signed by key id <code>{KEY.id}</code>" in page, "<b>Not signed</b>" in page) == (bool(key), not key)
    assert signature.status_code == (200 if key else 404)
    if key:
        assert json.loads(b"".join(signature.streaming_content))["key"] == KEY.id


@pytest.mark.django_db
def test_an_export_from_before_roots_still_has_its_page(client, settings, tmp_path):
    settings.EXPORT_DIR = tmp_path / "exports"
    made = create_export(run=make_finished_run(1), variants=["cotmed"], format="jsonl")
    build_queued_exports()
    made.refresh_from_db()
    for name in ("merkle", "signed_by", "code_version"):
        del made.manifest[name]
    made.save()
    client.force_login(make_user("clinician"))

    page = client.get(reverse("export", args=(made.pk,))).content.decode()

    assert "Merkle root" not in page
    assert "sha256sum --check" in page
    assert "reasonmed-verify" not in page
