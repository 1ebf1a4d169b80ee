from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.exports.records import VARIANTS, make_record, parse_variants

QUESTION = SimpleNamespace(contexts=[], stem="Which drug?", options=["Aspirin", "Heparin"])
words = st.text(min_size=1).filter(lambda t: t.strip() and "<" not in t)


def test_the_three_sets():
    made = {v: make_record(v, question=QUESTION, cot="Because.", response="So A.") for v in VARIANTS}

    assert made["reasonmed"] == {
        "instruction": "Which drug?\nA. Aspirin\nB. Heparin",
        "input": "",
        "output": "<think>Because.</think>So A.",
    }
    assert made["cotmed"]["output"] == "Because."
    assert made["responsemed"]["output"] == "So A."
    assert len({(m["instruction"], m["input"]) for m in made.values()}) == 1


def test_contexts_come_first_with_their_labels():
    asked = SimpleNamespace(
        contexts=[{"label": "METHODS", "text": "We looked."}], stem="Did it?", options=["yes", "no"]
    )

    made = make_record("cotmed", question=asked, cot="c", response="r")

    assert made["instruction"] == "METHODS: We looked.\n\nDid it?\nA. yes\nB. no"


@given(cot=words, response=words)
def test_reasoning_and_response_can_always_be_told_apart(cot, response):
    output = make_record("reasonmed", question=QUESTION, cot=cot, response=response)["output"]

    assert output.removeprefix("<think>").split("</think>") == [cot.strip(), response.strip()]


def test_think_tags_inside_a_text_cannot_end_the_reasoning_early():
    made = make_record("reasonmed", question=QUESTION, cot="<think>a</think>b", response="c</THINK >")

    assert made["output"] == "<think>ab</think>c"


@pytest.mark.parametrize(("cot", "response"), [(" <think></think> ", "r"), ("c", "\n")])
def test_a_record_without_text_is_refused(cot, response):
    with pytest.raises(ValueError, match="is empty"):
        make_record("cotmed", question=QUESTION, cot=cot, response=response)


def test_sets_come_in_one_order_each_once():
    assert parse_variants(["responsemed", "reasonmed", "reasonmed"]) == ("reasonmed", "responsemed")
    assert parse_variants(["all", "cotmed"]) == VARIANTS


@pytest.mark.parametrize("names", [[], ["gold"]])
def test_unknown_or_no_sets_are_refused(names):
    with pytest.raises(ValueError, match="reasonmed, cotmed, responsemed"):
        parse_variants(names)
