"""The published forms become questions; everything else is named by its line."""

from __future__ import annotations

import gzip
import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.questions.importers import IMPORTERS, FileRefused, ParsedQuestion, Problem, ReadOptions, files
from apps.questions.importers.files import SourceFile
from apps.questions.importers.jsonstream import keyed_rows, rows
from apps.questions.importers.medmcqa import find_base
from apps.questions.importers.pubmedqa import read_held_out_ids
from tests.questions import published as form


def read(benchmark, path, split="train", **options):
    return list(IMPORTERS[benchmark](SourceFile(path), ReadOptions(split=split, **options)))


def only_problem(found) -> Problem:
    (problem,) = (row for row in found if isinstance(row, Problem))
    return problem


class TestForms:
    def test_medqa_lines(self, tmp_path):
        five = dict(zip("ABCDE", (*form.OPTIONS, "Water"), strict=True))
        path = form.write(
            tmp_path, "t.jsonl", form.lines(form.medqa(1, answer_idx="C"), form.medqa(2, options=five, answer_idx="E"))
        )
        first, second = read("medqa", path)
        assert (first.line, first.key, first.options) == (1, 2, list(form.OPTIONS))
        assert (second.line, second.key, second.options[4]) == (2, 4, "Water")
        assert not first.held_out
        assert read("medqa", path, split="test")[0].held_out

    @pytest.mark.parametrize("indent", [None, 2])
    def test_medqa_array(self, tmp_path, indent):
        path = form.write(tmp_path, "t.json", json.dumps([form.medqa(1), form.medqa(2)], indent=indent))
        assert [row.stem for row in read("medqa", path)] == [form.medqa(n)["question"] for n in (1, 2)]

    def test_medmcqa_optional_fields_are_null(self, tmp_path):
        path = form.write(tmp_path, "dev.json", form.lines(form.medmcqa(3, opd="None")))
        (row,) = read("medmcqa", path, split="validation")
        assert (row.key, row.options[3], row.explanation, row.topic, row.held_out) == (3, "None", "", "", True)
        assert row.source_id.endswith("3")

    def test_pubmedqa_contexts_and_key(self, tmp_path):
        path = form.write(
            tmp_path, "p.json", json.dumps({"11": form.pubmedqa(1), "12": form.pubmedqa(2, final_decision="maybe")})
        )
        first, second = read("pubmedqa", path)
        assert first.contexts == [
            {"label": "METHODS", "text": "We studied 1 patients."},
            {"label": "RESULTS", "text": "Most recovered."},
        ]
        assert (first.source_id, first.explanation, first.meta["mesh"]) == ("11", "It works.", ["Humans"])
        assert (second.key, second.options) == (2, ["yes", "no", "maybe"])

    def test_mmlu_cells_hold_line_ends_and_quotes(self, tmp_path):
        rows_ = [("First line\nsecond, with comma", 'a "b"', "c", "d", "e", "D"), form.mmlu()]
        path = form.write(tmp_path, "anatomy_dev.csv", form.table(*rows_))
        first, second = read("mmlu", path, split="dev", subject="anatomy")
        assert (first.stem, first.options[0], first.key, first.line) == (
            "First line\nsecond, with comma",
            'a "b"',
            3,
            1,
        )
        assert second.line == 3

    @pytest.mark.parametrize(
        "changed",
        [
            lambda raw: gzip.compress(raw),
            lambda raw: b"\xef\xbb\xbf" + raw,
            lambda raw: raw.replace(b"\n", b"\r\n"),
            lambda raw: raw.rstrip(b"\n"),
            lambda raw: raw.replace(b"\n", b"\n\n"),
        ],
        ids=["gzip", "bom", "crlf", "no end", "blank lines"],
    )
    def test_the_same_file_in_other_clothes(self, tmp_path, changed):
        raw = form.lines(form.medqa(1), form.medqa(2)).encode()
        assert [row.stem for row in read("medqa", form.write(tmp_path, "t.jsonl", changed(raw)))] == [
            form.medqa(n)["question"] for n in (1, 2)
        ]

    def test_flags_of_equal_options(self, tmp_path):
        path = form.write(
            tmp_path,
            "t.jsonl",
            form.lines(
                form.medmcqa(0, opb="Insulin\u00a0"),
                form.medmcqa(1, opc="saline", opd="Saline "),
                form.medmcqa(3, opa="AA", opb="aa"),
                form.medmcqa(3, opb="Insulin"),
            ),
        )
        assert [row.flags for row in read("medmcqa", path)] == [["key_text_repeated"], [], [], ["equal_options"]]


class TestCop:
    """PIPELINE §1: by range, then by explanations, else the flag."""

    def base(self, tmp_path, *rows_):
        return find_base(SourceFile(form.write(tmp_path, "train.json", form.lines(*rows_))))

    def test_any_0_counts_from_0(self, tmp_path):
        assert self.base(tmp_path, form.medmcqa(cop=0), form.medmcqa(cop=3)) == 0

    def test_any_4_counts_from_1(self, tmp_path):
        assert self.base(tmp_path, form.medmcqa(cop=2), form.medmcqa(cop=4)) == 1

    def test_both_are_refused(self, tmp_path):
        with pytest.raises(FileRefused, match="both 0 and 4") as refusal:
            self.base(tmp_path, form.medmcqa(cop=0), form.medmcqa(cop=4))
        assert refusal.value.field == "cop"

    @pytest.mark.parametrize(
        ("exp", "base"), [("Ans. is 'b' i.e., glucagon", 1), ("Answer: (C)", 0), ("Ans-b. See", 1)]
    )
    def test_explanations_decide(self, tmp_path, exp, base):
        assert self.base(tmp_path, form.medmcqa(cop=2, exp=exp), form.medmcqa(cop=1), form.medmcqa(cop=3)) == base

    @pytest.mark.parametrize("exps", [(None, None), ("Ans. b", "Ans. c"), ("A rare disease", "Because of a")])
    def test_still_open_asks_for_the_flag(self, tmp_path, exps):
        with pytest.raises(FileRefused, match="--cop-base"):
            self.base(tmp_path, *(form.medmcqa(n, cop=2, exp=exp) for n, exp in enumerate(exps)))

    def test_the_flag_settles_it(self, tmp_path):
        path = form.write(tmp_path, "t.json", form.lines(form.medmcqa(cop=2)))
        assert [read("medmcqa", path, cop_base=base)[0].key for base in (0, 1)] == [2, 1]

    def test_no_key(self, tmp_path):
        path = form.write(
            tmp_path, "t.json", form.lines(form.medmcqa(1, cop=4), form.medmcqa(2, cop=-1), form.medmcqa(3, cop=1))
        )
        problem = only_problem(read("medmcqa", path))
        assert (problem.line, problem.field, problem.no_key) == (2, "cop", True)


class TestBadRows:
    @pytest.mark.parametrize(
        ("benchmark", "row", "field"),
        [
            ("medqa", form.medqa(answer_idx="E"), "answer_idx"),
            ("medqa", form.medqa(answer_idx=None), "answer_idx"),
            ("medqa", form.medqa(answer="Glucagon"), "answer"),
            ("medqa", form.medqa(question="  \u00a0 "), "question"),
            ("medqa", form.medqa(question=None), "question"),
            ("medqa", form.medqa(options={"A": "Insulin", "B": " "}), "options.B"),
            ("medqa", form.medqa(options={"A": "Insulin", "C": "x"}), "options"),
            ("medqa", form.medqa(options={}), "options"),
            ("medqa", form.medqa(options={"A": "Insulin"}), "options"),
            ("medqa", form.medqa(question="NUL \0 inside"), "question"),
            ("medqa", form.medqa(question="x" * 100_001), "question"),
            ("medmcqa", form.medmcqa(cop=5), "cop"),
            ("medmcqa", form.medmcqa(cop="2"), "cop"),
            ("medmcqa", form.medmcqa(cop=True), "cop"),
            ("medmcqa", form.medmcqa(opc=None), "opc"),
            ("medmcqa", form.medmcqa(opc=3), "opc"),
            ("medmcqa", form.medmcqa(id=""), "id"),
            ("medmcqa", form.medmcqa(id="a b"), "id"),
            ("medmcqa", form.medmcqa(topic_name="x" * 301), "topic"),
        ],
    )
    def test_are_named_by_line_and_field(self, tmp_path, benchmark, row, field):
        good = {"medqa": form.medqa, "medmcqa": form.medmcqa}[benchmark](3)
        found = read(benchmark, form.write(tmp_path, "t.jsonl", form.lines(good, row)))
        problem = only_problem(found)
        assert (problem.line, problem.field) == (2, field)
        assert isinstance(found[0], ParsedQuestion)

    @pytest.mark.parametrize(
        ("raw", "said"),
        [
            (b'{"question": "cut sh', "cut short"),
            (b"{'question': 1}", "not JSON"),
            (b"[1, 2]", "is an object"),
            (b'{"question": "caf\xe9"}', "not UTF-8 (byte 0xe9 at 18)"),
            (b'{"question": "a\0b"}', "NUL"),
            (json.dumps(form.medqa(question="half \ud800 pair")).encode(), "surrogate"),
            (b"[" * 100_000, "nested"),
            (b'{"question": "' + b"x" * 20_000_000 + b'"}', "longer than 2 MB"),
        ],
        ids=["cut", "quotes", "array", "latin-1", "raw nul", "surrogate", "deep", "20 MB"],
    )
    def test_lines_that_are_no_rows(self, tmp_path, raw, said):
        content = form.lines(form.medqa(1)).encode() + raw + b"\n" + form.lines(form.medqa(2)).encode()
        found = read("medqa", form.write(tmp_path, "t.jsonl", content))
        assert len(found) == 3
        problem = only_problem(found)
        assert problem.line == 2
        assert said in problem.message
        assert len(problem.message) < 200

    @pytest.mark.parametrize(
        ("row", "field"),
        [
            (form.pubmedqa(final_decision="perhaps"), "final_decision"),
            (form.pubmedqa(CONTEXTS=[]), "CONTEXTS"),
            (form.pubmedqa(CONTEXTS="text"), "CONTEXTS"),
            (form.pubmedqa(LABELS=["ONE"]), "LABELS"),
            (["a", "list"], ""),
        ],
    )
    def test_of_pubmedqa(self, tmp_path, row, field):
        content = json.dumps({"11": form.pubmedqa(1), "12": row}, indent=0)
        problem = only_problem(read("pubmedqa", form.write(tmp_path, "p.json", content)))
        assert problem.field == field
        assert content.splitlines()[problem.line - 1].startswith('"12"')

    @pytest.mark.parametrize(
        ("row", "field"),
        [
            (("q", "a", "b", "c", "d", "E"), "answer"),
            (("q", "a", "b", "c", "D"), ""),
            (("", "a", "b", "c", "d", "A"), "question"),
            (("q", "a", " ", "c", "d", "A"), "B"),
            (("question", "A", "B", "C", "D", "answer"), "answer"),
        ],
    )
    def test_of_mmlu(self, tmp_path, row, field):
        path = form.write(tmp_path, "anatomy_dev.csv", form.table(form.mmlu(), row))
        problem = only_problem(read("mmlu", path))
        assert (problem.line, problem.field) == (2, field)


class TestRefusedFiles:
    @pytest.mark.parametrize(
        ("raw", "said"),
        [
            (b"", "empty"),
            (b" \n\n", "empty"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "git lfs pull"),
            ('{"question"'.encode("utf-16"), "UTF-16"),
            ('{"question"'.encode("utf-16-be"), "UTF-16"),
            (b"PK\x03\x04rest", "zip"),
            (gzip.compress(form.lines(form.medqa()).encode())[:-12], "gzip"),
        ],
        ids=["empty", "blank", "lfs", "utf-16", "utf-16 without mark", "zip", "torn gzip"],
    )
    def test_say_what_they_are(self, tmp_path, raw, said):
        with pytest.raises(FileRefused, match=said):
            read("medqa", form.write(tmp_path, "t.jsonl", raw))

    def test_missing_and_folder(self, tmp_path):
        with pytest.raises(FileRefused, match="no such file"):
            SourceFile(tmp_path / "none.json")
        with pytest.raises(FileRefused, match="not a regular file"):
            SourceFile(tmp_path)

    @pytest.mark.parametrize(
        ("content", "line", "said"),
        [
            ('[\n{"question": 1},\n{"quest', 3, "cut short"),
            ('[\n{"question": 1}\n', 3, "cut short"),
            ('[\n{"question": 1}\n{"question": 2}]', 3, "',' expected"),
            ('[{"question": 1}]\n[]', 2, "goes on"),
            ('[\n{"question":\n1 1}]', 3, "not JSON"),
            ('[\n{"question": "a\0"}]', 2, "NUL"),
            ("[" * 50_000, 1, "nested"),
            ('[\n\n"' + "x" * 3_000_000 + '"]', 3, "longer than"),
        ],
        ids=["cut row", "cut array", "comma", "second array", "inside", "nul", "deep", "long"],
    )
    def test_damaged_arrays_by_line(self, tmp_path, content, line, said):
        with pytest.raises(FileRefused, match=said) as refusal:
            list(rows(SourceFile(form.write(tmp_path, "t.json", content))))
        assert refusal.value.line == line

    @pytest.mark.parametrize("wanted", list(IMPORTERS))
    def test_another_benchmarks_file(self, tmp_path, wanted):
        contents = {
            "medqa": form.lines(form.medqa()),
            "medmcqa": json.dumps([form.medmcqa()]),
            "pubmedqa": json.dumps({"11": form.pubmedqa()}, indent=2),
            "mmlu": form.table(form.mmlu()),
        }
        for found, content in contents.items():
            if found != wanted:
                path = form.write(tmp_path, "anatomy_dev.csv", content)
                with pytest.raises(FileRefused, match=f"import_questions {found}"):
                    read(wanted, path)

    def test_model_answers_are_no_questions(self, tmp_path):
        path = form.write(
            tmp_path, "t.json", json.dumps([{"question": "q", "options": {}, "answer": "a", "model1_COT1": "…"}])
        )
        with pytest.raises(FileRefused, match="import_paths"):
            read("medqa", path)

    def test_a_quote_left_open_in_a_table(self, tmp_path):
        path = form.write(tmp_path, "anatomy_dev.csv", form.table(form.mmlu()) + '"open,a,b,c,d,A\n')
        with pytest.raises(FileRefused, match="not CSV") as refusal:
            read("mmlu", path)
        assert refusal.value.line == 2


class TestHeldOutIds:
    def test_a_row_of_the_test_key_is_test_whatever_the_split_said(self, tmp_path):
        path = form.write(tmp_path, "p.json", json.dumps({"11": form.pubmedqa(1), "12": form.pubmedqa(2)}))
        told = read("pubmedqa", path, split="labelled", held_out_ids=frozenset({"12"}))
        assert [(row.split, row.held_out) for row in told] == [("labelled", False), ("test", True)]

    def test_without_the_key_labelled_rows_stay_held_out(self, tmp_path):
        path = form.write(tmp_path, "p.json", json.dumps({"11": form.pubmedqa(1)}))
        assert [(row.split, row.held_out) for row in read("pubmedqa", path, split="labelled")] == [("labelled", True)]
        assert [(row.split, row.held_out) for row in read("pubmedqa", path, split="train")] == [("train", False)]

    def test_reading_the_key(self, tmp_path):
        assert read_held_out_ids(form.write(tmp_path, "a.json", '{"12": "yes", "13": "no"}')) == {"12", "13"}
        assert read_held_out_ids(form.write(tmp_path, "b.json", '["12", 13]')) == {"12", "13"}
        for bad in ("{}", '{"a": "yes"}', '"12"', '{"12"'):
            with pytest.raises(FileRefused):
                read_held_out_ids(form.write(tmp_path, "c.json", bad))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(json_values, max_size=8), st.sampled_from([None, 1]), st.booleans(), st.integers(1, 9))
@pytest.mark.slow
def test_streaming_gives_what_json_loads_gives(tmp_path_factory, values, indent, ascii_, chunk):
    """Whatever the chunks cut through: numbers, escapes, characters of several bytes."""
    path = tmp_path_factory.mktemp("j") / "t.json"
    size, files.CHUNK = files.CHUNK, chunk
    try:
        path.write_text(
            json.dumps(values, indent=indent, ensure_ascii=ascii_), encoding="utf-8", errors="surrogatepass"
        )
        assert [value for _line, value in rows(SourceFile(path))] == values
        keyed = {str(n): value for n, value in enumerate(values)}
        path.write_text(json.dumps(keyed, indent=indent, ensure_ascii=ascii_), encoding="utf-8", errors="surrogatepass")
        found = list(keyed_rows(SourceFile(path)))
        assert {key: value for _line, key, value in found} == keyed
        if indent:
            lines = path.read_text(encoding="utf-8", errors="surrogatepass").split("\n")
            assert all(lines[line - 1].lstrip().startswith(json.dumps(key)) for line, key, _value in found)
    finally:
        files.CHUNK = size


@pytest.mark.parametrize("as_lines", [True, False])
def test_memory_stays_constant(tmp_path, as_lines):
    """20 MB of rows through less than 4 MB."""
    row = json.dumps(form.medqa(1, metamap_phrases=["x" * 900]))
    content = "\n".join([row] * 16_000) if as_lines else "[" + ",\n".join([row] * 16_000) + "]"
    path = form.write(tmp_path, "t.jsonl", content)
    del content
    tracemalloc.start()
    try:
        count = sum(1 for _row in IMPORTERS["medqa"](SourceFile(path), ReadOptions(split="train")))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 16_000
    assert peak < 4_000_000
