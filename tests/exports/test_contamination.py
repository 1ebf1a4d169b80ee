"""Contamination: the known pairs are found, a planted paraphrase at its similarity, and nothing that is not there."""

from __future__ import annotations

import itertools
import json
import os
import random
from pathlib import Path

import numpy as np
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.exports.contamination import minhash, scan
from apps.exports.contamination.minhash import candidates, rows_of_a_band, sign
from apps.exports.contamination.scan import scan_run
from apps.exports.contamination.shingles import jaccard, shingles
from apps.exports.contamination.stored import result_of
from apps.exports.errors import ExportStoppedError
from apps.questions.models import Question
from apps.questions.services import import_questions
from tests.factories import make_project, make_question, make_run, make_run_question

DATA = Path(os.environ.get("REASONMED_SHARED") or Path(__file__).resolve().parents[3] / "shared") / "data"
STEM = " ".join(f"word{n}" for n in range(40))
PARAPHRASE = STEM.replace("word20", "another")
WORDS = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=30).map(" ".join)


def run_of(*questions):
    run = make_run()
    for question in questions:
        make_run_question(run, question)
    return run


def found(run, **options):
    return [(p.left, p.right, p.scope) for p in scan_run(run, **options).pairs]


@given(st.lists(WORDS, min_size=2, max_size=5), st.randoms(use_true_random=False))
def test_options_in_any_order_case_and_punctuation_are_the_same(options, chance):
    mixed = [option.upper() + "." for option in options]
    chance.shuffle(mixed)
    assert shingles("Which, of these?", options) == shingles("which OF these", mixed)


@given(st.frozensets(WORDS), st.frozensets(WORDS))
def test_similarity_is_symmetric_and_one_only_for_equals(a, b):
    assert jaccard(a, b) == jaccard(b, a)
    assert 0 <= jaccard(a, b) <= 1
    assert (jaccard(a, b) == 1) == (a == b)


def test_a_text_of_punctuation_alone_has_something_to_compare():
    assert shingles("?", ["+", "-"]) != shingles("!", ["+", "-"])


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.7, 0.8, 0.9, 0.95])
def test_bands_are_as_wide_as_the_recall_allows(threshold):
    rows = rows_of_a_band(threshold)
    recall = [1 - (1 - threshold**r) ** (minhash.PERMUTATIONS // r) for r in (rows, rows + 1)]
    assert recall[0] >= minhash.RECALL > recall[1]


def test_signatures_are_the_same_every_time_and_estimate_the_similarity():
    a, b = shingles(STEM, ["x", "y"]), shingles(PARAPHRASE, ["x", "y"])
    again = sign([a, b])
    assert (sign([sorted(a), sorted(b)]) == again).all()
    assert again[0, :3].tolist() == sign([a])[0, :3].tolist()
    assert abs((again[0] == again[1]).mean() - jaccard(a, b)) < 0.15


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([3, 50, minhash.CHUNK]))
def test_candidates_hold_every_close_pair_once(seed, chunk):
    """Chunks of any size; the oracle compares all with all."""
    chance = random.Random(seed)
    base = [frozenset(chance.sample(range(400), 40)) for _ in range(4)]
    sets = [frozenset(map(str, one ^ {1000 + k} if k else one)) for one in base for k in range(5)]
    before, minhash.CHUNK = minhash.CHUNK, chunk
    try:
        got = [tuple(pair) for part in candidates(sign(sets), threshold=0.8) for pair in part.tolist()]
    finally:
        minhash.CHUNK = before
    close = {(i, j) for i, j in itertools.combinations(range(len(sets)), 2) if jaccard(sets[i], sets[j]) >= 0.8}
    assert len(got) == len(set(got))
    assert close <= set(got)
    assert all(i < j for i, j in got)


def test_no_questions_no_candidates():
    assert list(candidates(np.empty((0, minhash.PERMUTATIONS), dtype=np.uint32), threshold=0.8)) == []


@pytest.mark.django_db
class TestScan:
    def test_a_planted_paraphrase_at_its_similarity(self):
        """One word of 40 changed: 3 of 38 trigrams differ, 35 and 4 options are shared, so 39 of 45."""
        held = make_question(stem=STEM, held_out=True, split="test")
        ours = make_question(stem=PARAPHRASE)
        run = run_of(ours)

        (pair,) = scan_run(run, threshold=0.8).pairs

        assert (pair.left, pair.right, pair.scope, pair.exact) == (ours.pk, held.pk, "evaluation", False)
        assert pair.similarity == 39 / 45
        assert found(run, threshold=39 / 45) != []
        assert found(run, threshold=0.87) == []

    def test_a_test_split_counts_as_an_evaluation_set_though_not_held_out(self):
        ours, test = make_question(stem=STEM), make_question(stem=PARAPHRASE, split="test")
        assert found(run_of(ours)) == [(ours.pk, test.pk, "evaluation")]

    def test_within_the_run_a_group_gives_one_pair_less_than_it_has_members(self):
        same = [make_question(stem=STEM, fingerprint="f" * 32) for _ in range(4)]
        outside = make_question(stem=STEM)
        result = scan_run(run_of(*same))
        assert [(p.left, p.right, p.scope) for p in result.pairs] == [(same[0].pk, q.pk, "within") for q in same[1:]]
        assert all(p.exact and p.similarity == 1 for p in result.pairs)
        assert outside.pk not in {p.right for p in result.pairs}
        assert result.contaminated == set()

    def test_every_copy_in_the_run_is_named_with_the_evaluation_question(self):
        held = make_question(stem=PARAPHRASE, held_out=True)
        same = [make_question(stem=STEM) for _ in range(3)]
        result = scan_run(run_of(*same, held))
        assert result.contaminated == {*(q.pk for q in same), held.pk}
        assert result.themselves == [held.pk]
        assert {p.right for p in result.pairs if p.scope == "evaluation"} == {held.pk}
        assert (result.questions, result.evaluation, result.count("within")) == (4, 1, 2)

    def test_another_projects_evaluation_sets_are_not_told_of(self):
        held = make_question(stem=STEM, held_out=True, benchmark="private")
        run = run_of(make_question(stem=STEM))
        assert len(found(run)) == 1
        held.benchmark.project = make_project("elsewhere")
        held.benchmark.save()
        assert found(run) == []

    def test_an_evaluation_question_in_the_run_is_contamination_by_itself(self):
        """A run that allows held-out questions, or one of a test split that nobody marked as held out."""
        held, test = make_question(held_out=True, stem=STEM), make_question(split="test", stem="Another thing?")
        result = scan_run(run_of(make_question(stem="A third thing?"), held, test))
        assert (result.pairs, result.themselves) == ([], [held.pk, test.pk])
        assert result.contaminated == {held.pk, test.pk}

    def test_without_a_run_all_that_may_be_trained_on_is_compared(self):
        held, ours = make_question(stem=STEM, held_out=True), make_question(stem=PARAPHRASE)
        result = scan.scan(make_project(), None)
        assert [(p.left, p.right) for p in result.pairs] == [(ours.pk, held.pk)]
        assert (result.questions, result.evaluation, result.themselves) == (1, 1, [])

    def test_it_says_which_of_the_nine_sets_are_not_there(self):
        make_question(held_out=True, split="test", benchmark="mmlu", subject="anatomy")
        make_question(held_out=True, split="test", benchmark="own")
        result = scan_run(run_of(make_question()))
        there = {one.name: (one.imported, one.published) for one in result.sets}
        assert len(there) == 9
        assert there["MMLU anatomy test"] == (1, 135)
        assert (there["MedQA test"], there["MedMCQA validation"]) == ((0, 1273), (0, 4183))
        assert result.other_evaluation == 1

    def test_it_can_be_watched_and_stopped(self):
        run, seen = run_of(make_question(), make_question(stem=STEM)), []
        scan_run(run, watch=scan.Watch(progress=lambda done, total: seen.append((done, total))))
        assert seen[0] == (2, 2)
        with pytest.raises(ExportStoppedError):
            scan_run(run, watch=scan.Watch(should_stop=lambda: True))

    def test_pages_of_any_size_give_the_same(self, monkeypatch):
        questions = [make_question(stem=stem) for stem in (STEM, PARAPHRASE, STEM, "Another thing entirely?")]
        make_question(stem=STEM, held_out=True)
        run = run_of(*questions)
        whole = scan_run(run)
        monkeypatch.setattr(scan, "PAGE", 1)
        assert scan_run(run) == whole
        assert len(whole.pairs) == 5

    def test_a_template_asked_many_times_gives_no_crowd_of_pairs(self, monkeypatch):
        """In a small cluster all with all; in a larger one each question is tied to it, and to an evaluation question."""
        texts = [f"{STEM} {n}" for n in range(8)]
        run = run_of(*[make_question(stem=text) for text in texts])
        held = make_question(stem=f"{STEM} more", held_out=True)
        assert scan_run(run).count("within") == 28
        monkeypatch.setattr(scan, "ALL_WITH_ALL", 3)
        result = scan_run(run)
        tied = [{p.left, p.right} for p in result.pairs if p.scope == "within"]
        assert 7 <= len(tied) < 28
        assert set.union(*tied) == {q.pk for q in Question.objects.exclude(pk=held.pk)}
        assert result.count("evaluation") == 8

    def test_nothing_to_compare(self):
        assert scan_run(make_run()).pairs == []

    @pytest.mark.parametrize("threshold", [0.49, 1.01, float("nan")])
    def test_a_threshold_that_makes_no_sense(self, threshold):
        with pytest.raises(ValueError, match="between"):
            scan_run(make_run(), threshold=threshold)

    def test_the_command(self, capsys):
        held = make_question(stem=STEM, held_out=True)
        ours = make_question(stem=PARAPHRASE)
        run = run_of(ours)
        call_command("contamination_report", run.name, "--json")
        report = json.loads(capsys.readouterr().out)
        assert report["contaminated"] == 1
        assert [(p["left"], p["right"]) for p in report["pairs_found"]] == [(ours.uid, held.uid)]
        call_command("contamination_report", run.name, "--json", "--save")
        kept = json.loads(capsys.readouterr().out)
        assert kept.pop("seconds") >= 0
        assert kept == report
        call_command("contamination_report", "--json")
        assert json.loads(capsys.readouterr().out)["pairs_found"] == report["pairs_found"]
        call_command("contamination_report", run.name)
        said = capsys.readouterr().out
        assert "1 questions stand in an evaluation set: 0 are of one themselves, 0 pairs exact, 1 near" in said
        assert "compared with: 1 other evaluation questions\nNOT in the database" in said
        for arguments in (("nobody",), (run.name, "--threshold", "2")):
            with pytest.raises(CommandError) as refused:
                call_command("contamination_report", *arguments)
            assert refused.value.returncode == 2


@pytest.mark.shared_data
@pytest.mark.slow
@pytest.mark.django_db
@pytest.mark.skipif(not DATA.is_dir(), reason="the public data sets are not there")
def test_the_known_pairs_of_mmlu():
    for part in ("test", "dev", "val"):
        for path in sorted((DATA / "mmlu" / part).glob("*.csv")):
            import_questions(benchmark="mmlu", path=path)
    run = run_of(*Question.objects.order_by("pk"))

    result = scan_run(run)
    exact = [p for p in result.pairs if p.exact]
    asked = Question.objects.in_bulk()
    shared = [
        p
        for p in exact
        if {asked[p.left].subject, asked[p.right].subject} == {"college_medicine", "clinical_knowledge"}
        and asked[p.left].split == asked[p.right].split == "test"
    ]

    assert len({p.left for p in exact if p.scope == "evaluation"}) == 19
    letters = [
        p
        for p in shared
        if (asked[p.left].stem, asked[p.left].options) == (asked[p.right].stem, asked[p.right].options)
    ]
    assert len(letters) == len(shared) == 78
    assert len({asked[p.left].stem for p in shared}) == 77  # two of them ask the same with other options
    there = {one["name"]: one for one in result_of(result)["sets"]}
    assert there["MMLU clinical knowledge test"]["imported"] == 265
    assert there["MedQA test"]["imported"] == 0
