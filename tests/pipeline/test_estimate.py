"""Estimates: each figure has its source, and the whole can be worked out by hand; a pilot tells of all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from hypothesis import given
from hypothesis import strategies as st

from apps.pipeline.config import RunConfig, default_config, parse_config
from apps.pipeline.estimate import Estimate, estimate_run
from apps.pipeline.figures import ERROR_SHARE, PUBLISHED, beta_binomial, pool
from apps.pipeline.lanes import lanes_of
from apps.pipeline.models import Call
from apps.pipeline.pilot import extrapolate, make_pilot, outlook_of
from apps.pipeline.prompt_tokens import lanes_with_shares, later_outputs
from apps.pipeline.prompts import load_prompts
from apps.pipeline.services import RunError, choose_questions, create_run, pick_questions
from apps.questions.models import Question
from apps.questions.text import join_question
from apps.reasoning.models import Run, RunCounter, RunQuestion
from tests.factories import (
    count_again,
    keep_paths,
    make_finished_run,
    make_judged_question,
    make_project,
    make_question,
    make_run,
)
from tests.pipeline.ledgers import PRICES, priced
from workers.simulated import SimulatorConfig, start_in_thread
from workers.simulated.keys import DatabaseKeys
from workers.simulated.running import RunningSimulator

DB = pytest.mark.django_db


def estimate(data: dict[str, Any], paths_from: Run | None = None) -> Estimate:
    config, project = parse_config(data), make_project()
    picked = pick_questions(choose_questions(project=project, config=config, paths_from=paths_from), config)
    return estimate_run(project=project, config=config, picked=picked, paths_from=paths_from)


def test_the_published_figures_leave_a_tenth_of_the_questions_difficult() -> None:
    shares = beta_binomial(9, ERROR_SHARE, 1.0)

    assert sum(n * share for n, share in enumerate(shares)) / 9 == pytest.approx(ERROR_SHARE)
    assert sum(shares[8:]) == pytest.approx(0.103, abs=0.001)
    assert 194_925 * (2 - sum(shares[8:])) == pytest.approx(370_000, rel=0.01)


@given(paths=st.integers(1, 30), mean=st.floats(0.01, 0.99), concentration=st.floats(0.1, 50))
def test_shares_are_a_distribution(paths: int, mean: float, concentration: float) -> None:
    shares = beta_binomial(paths, mean, concentration)

    assert len(shares) == paths + 1
    assert sum(shares) == pytest.approx(1)
    assert min(shares) >= 0


def test_figures_of_several_runs_are_one() -> None:
    assert pool([("a", 10, 100.0, 0.0), ("b", 9, 100.0, 0.0)]) is None  # too few
    one = pool([("b", 10, 100.0, 0.0), ("a", 30, 200.0, 0.0)])
    assert one is not None
    assert (one.mean, one.source) == (175, "40 replies in a, b")
    assert one.low == 161  # 175 − 1.96 × √(1875 / 40)


@DB
@pytest.mark.parametrize("errors", [0, 2, 4, 6, 8, 9])
def test_later_outputs_are_those_that_a_question_gets(errors: int) -> None:
    run, question = make_run(), make_question()
    make_judged_question(run, question, errors=errors)
    keep_paths(run, question)

    made = Counter(Call.objects.filter(run=run).values_list("stage", flat=True))

    foreseen = later_outputs(RunConfig.model_validate(run.config), errors)
    assert foreseen == {stage: made[stage] for stage in foreseen}


def test_where_all_correct_paths_are_kept_anyway_none_is_ranked() -> None:
    assert later_outputs(parse_config({}), 7) == {
        "rank": 0,
        "refine": 2,
        "regenerate": 0,
        "reverify": 2,
        "summarise": 2,
    }
    assert later_outputs(parse_config({"keep": 1}), 7)["rank"] == 2


@pytest.mark.parametrize(("generates", "judged"), [(True, ""), (False, "another")])
def test_lanes_are_those_that_are_worked_on(generates: bool, judged: str) -> None:
    config = parse_config({"paths_from": judged})
    lanes = lanes_with_shares(config, generates=generates)

    assert [f"{lane.stage}@{lane.endpoint}" for lane in lanes] == lanes_of(config)
    shares: Counter[str] = Counter()
    for lane in lanes:
        shares[lane.stage] += lane.share  # type: ignore[assignment]
    assert all(share == pytest.approx(1) for share in shares.values())


@DB
def test_a_small_estimate_by_hand() -> None:
    question = make_question(stem="Which drug?", options=["Aspirin", "Ibuprofen"], key=1)
    config = priced("qwen2.5-72b", "judge")
    made = estimate(config)

    text = len(join_question([], "Which drug?", ["Aspirin", "Ibuprofen"]))
    sent = (len(load_prompts()["generate"].text) + text) / 4
    low, mean, source = PUBLISHED["generate"]
    line = next(x for x in made.lines if x.stage == "generate" and x.cost)
    assert (line.calls.expected, line.calls.most) == (3, 3)
    assert (line.tokens_in, line.tokens_out) == (round(3 * sent), 3 * mean)
    assert line.cost is not None
    millionth = Decimal("1e-6")
    assert line.cost.expected == (round(3 * sent) + 2 * 3 * mean) * millionth
    assert line.cost.low == (int(3 * sent) + 2 * 3 * low) * millionth
    assert line.cost.most == 3 * (-(-int(sent * 4) // 4) + 2 * 8192) * millionth
    verify = next(x for x in made.lines if x.stage == "verify")
    assert verify.calls.expected == 9
    assert verify.tokens_in > 9 * mean  # the path stands in its prompt
    assert made.questions == Question.objects.filter(pk=question.pk).count()
    assert {s.what: s.source for s in made.sources}["Generate, sim-qwen2.5-72b"] == source
    assert made.unpriced == ["sim-r1-distill-70b", "sim-huatuogpt-o1-70b", "sim-writer"]
    parts = {p.name: p for p in made.stages}
    assert parts["generate"].partly
    assert parts["refine"].cost is None
    assert made.cost is not None
    assert made.cost.expected == sum(p.cost.expected for p in made.stages if p.cost)


@DB
@pytest.mark.parametrize(("questions", "cap"), [(1, 8192), (3, 8192), (7, 64), (40, 8192)])
def test_low_expected_and_most_stand_in_this_order(questions: int, cap: int) -> None:
    for _ in range(questions):
        make_question()
    config = priced()
    config["generators"] = [g | {"max_tokens": cap} for g in config["generators"]]
    made = estimate(config)

    assert made.questions == questions
    assert made.calls.expected <= made.calls.most
    for cost in (made.cost, *(p.cost for p in made.stages), *(p.cost for p in made.models)):
        assert cost is not None
        assert 0 <= cost.low <= cost.expected <= cost.most
    assert made.cost is not None
    assert made.cost.most <= sum(p.cost.most for p in made.stages if p.cost)
    assert sum(p.cost.expected for p in made.models if p.cost) == made.cost.expected


@DB
def test_earlier_runs_of_the_same_models_speak_first() -> None:
    run = make_finished_run(7, name="earlier", config=priced())  # 21 paths of each generator, of 240 tokens
    made = estimate(priced() | {"questions": {"limit": 5}})

    sources = {s.what: s for s in made.sources}
    assert sources["Generate, sim-qwen2.5-72b"].figure == "240 tokens a reply"
    assert sources["Generate, sim-qwen2.5-72b"].source == "21 replies in earlier"
    assert sources["Verify, sim-judge"].source == "63 replies in earlier"
    assert sources["Regenerate, sim-writer"].source.startswith("assumed")  # two replies are too few
    assert "published" in sources["Tiers"].source
    RunCounter.objects.create(run=run, key="errors:0", value=93, shard=5)
    made = estimate(priced() | {"questions": {"limit": 5}})
    assert {s.what: s.source for s in made.sources}["Tiers"] == "100 questions with a tier in earlier"
    assert dict(made.tiers)["easy"] > 0.9
    other = priced()
    other["endpoints"] = [e | {"model": "another"} for e in other["endpoints"]]
    assert all("earlier" not in s.source for s in estimate(other).sources)


@DB
def test_another_runs_paths_are_measured_not_made() -> None:
    source = make_finished_run(2, name="source")
    made = estimate({}, paths_from=source)

    assert "generate" not in {p.name for p in made.stages}
    assert {s.what: s.source for s in made.sources}["Paths in prompts"] == "the first 200 paths of source"
    assert made.cost is None
    assert len(made.unpriced) == 2


@DB
def test_no_question_no_estimate() -> None:
    made = estimate(priced())

    assert (made.questions, made.calls.most) == (0, 0)
    assert made.cost is not None
    assert made.cost.most == 0


@DB
def test_reading_the_earlier_runs_is_bounded(django_assert_max_num_queries: Any) -> None:
    make_finished_run(3, name="earlier", config=priced())
    with django_assert_max_num_queries(7):
        estimate(priced())


@DB
class TestSample:
    def drawn(self, **fields: Any) -> list[str]:
        config = parse_config({"seed": fields.pop("seed", 1), "questions": fields})
        return [q.uid for q in pick_questions(choose_questions(project=make_project(), config=config), config)]

    def test_a_draw_is_the_same_again_and_another_with_another_seed(self) -> None:
        uids = [make_question(benchmark=b).uid for b in ("medqa", "medmcqa", "pubmedqa", "mmlu") for _ in range(10)]

        first = self.drawn(sample=10)
        assert len(set(first)) == 10
        assert first == self.drawn(sample=10)
        assert set(first) != set(self.drawn(sample=10, seed=2))
        assert first == self.drawn(sample=40)[:10]  # a larger draw holds the smaller one
        assert set(self.drawn(sample=100)) == set(uids)
        assert len({uid.partition("-")[0] for uid in first}) > 1

    def test_a_draw_stays_within_the_limit(self) -> None:
        uids = [make_question().uid for _ in range(12)]

        assert self.drawn(limit=5) == uids[:5]
        assert set(self.drawn(limit=5, sample=3)) < set(uids[:5])
        assert set(self.drawn(limit=5, sample=8)) == set(uids[:5])

    def test_a_run_takes_what_was_drawn(self) -> None:
        for _ in range(12):
            make_question()
        config = parse_config({"questions": {"sample": 4}})
        run = create_run(project=make_project(), name="drawn", config=config)

        taken = set(RunQuestion.objects.filter(run=run).values_list("question__uid", flat=True))
        assert taken == {q.uid for q in pick_questions(choose_questions(project=run.project, config=config), config)}
        assert len(taken) == 4


COSTS = st.lists(st.decimals(min_value=0, max_value=50, places=8), min_size=2, max_size=30)


@given(costs=COSTS, questions=st.integers(1, 200_000))
@pytest.mark.slow
def test_an_interval_holds_its_mean_and_repeats(costs: list[Decimal], questions: int) -> None:
    told = extrapolate(costs, questions, seed=1)

    assert 0 <= told.low <= told.high
    assert told.expected == (sum(costs) / len(costs) * questions).quantize(Decimal("1e-8"))
    assert told == extrapolate(costs, questions, seed=1)
    if len(set(costs)) == 1:
        near = pytest.approx(float(told.expected))
        assert float(told.low) == near
        assert float(told.high) == near


@pytest.mark.slow
def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    import random

    world = random.Random(5)
    held = 0
    for round_number in range(100):
        costs = [Decimal(str(round(world.choices((0.05, 0.2, 1.0), (0.75, 0.15, 0.1))[0], 2))) for _ in range(20)]
        told = extrapolate(costs, 1000, seed=round_number)
        held += told.low <= Decimal("167.5") <= told.high  # 1,000 × (0.75 × 0.05 + 0.15 × 0.2 + 0.1 × 1)
    assert held / 100 > 0.85  # 20 questions of so skewed a kind: a little under 95 %


@DB
class TestPilot:
    def pilot(self, **fields: Any) -> Run:
        defaults: dict[str, Any] = {"name": "lab-pilot", "config": parse_config(priced()), "questions": 3}
        return make_pilot(project=make_project(), **(defaults | fields))

    def test_it_tries_a_few_of_those_chosen_and_is_taken_up_again(self) -> None:
        for _ in range(9):
            make_question()
        run = self.pilot()

        assert RunQuestion.objects.filter(run=run).count() == 3
        assert self.pilot() == run
        with pytest.raises(RunError, match="another configuration"):
            self.pilot(config=parse_config(priced(seed=9)))
        with pytest.raises(RunError, match="another configuration"):
            self.pilot(questions=4)
        with pytest.raises(RunError, match="2 to"):
            self.pilot(name="else", questions=1)

    def test_one_of_another_runs_paths_is_taken_up_again_too(self) -> None:
        source = make_finished_run(4, name="source")
        run = self.pilot(paths_from=source, questions=2)

        assert self.pilot(paths_from=source, questions=2) == run
        with pytest.raises(RunError, match="another configuration"):
            self.pilot(questions=2)

    def test_it_tells_of_all_by_scale(self) -> None:
        run = make_finished_run(4, config=priced())
        for n, question in enumerate(run.questions.order_by("pk"), start=1):
            RunQuestion.objects.filter(pk=question.pk).update(cost=n)
        told = outlook_of(run, questions=400)

        assert (told.piloted, told.unfinished, told.all_calls) == (4, 0, 100 * told.calls)
        assert told.per_question == Decimal("2.5")
        assert told.cost is not None
        assert told.cost.expected == 1000
        assert told.cost.low < 1000 < told.cost.high

    def test_without_a_price_it_tells_calls_and_tokens(self) -> None:
        run = make_finished_run(2)
        count_again(run)
        told = outlook_of(run, questions=20)

        assert told.cost is None
        assert told.all_tokens_in == 10 * sum(Call.objects.filter(run=run).values_list("tokens_in", flat=True))


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningSimulator]:
    with start_in_thread(SimulatorConfig(), DatabaseKeys()) as running:
        monkeypatch.setenv("REASONMED_SIMULATOR_URL", running.base_url)
        yield running


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_the_command_works_a_pilot_off_and_tells_of_all(
    models: RunningSimulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_project()
    for number in range(12):
        make_question(stem=f"Case {number}: which treatment comes first, given finding {number}?", key=number % 4)
    file = tmp_path / "lab.toml"
    prices = "\n".join(f'{name} = "{price}"' for name, price in PRICES.items())
    file.write_text(
        "\n".join(
            f'[[endpoints]]\nname = "{e["name"]}"\nbase_url = "simulated"\nmodel = "{e["model"]}"\n{prices}'
            for e in default_config()["endpoints"]
        )
    )
    monkeypatch.setattr("signal.signal", lambda *_: None)
    out = StringIO()
    call_command("estimate_run", config=file, stdout=out)
    assert not Run.objects.exists()
    assert "12 questions" in out.getvalue()
    call_command("estimate_run", config=file, pilot=4, stdout=out)
    run = Run.objects.get(name="lab-pilot")
    assert run.state == "finished"
    assert "For 12 questions" in out.getvalue()
    assert "95 %" in out.getvalue()
    made = Call.objects.filter(run=run).count()
    call_command("estimate_run", config=file, pilot=4, stdout=out)
    assert Call.objects.count() == made == models.simulator.tally.received
