"""The gates over a record's texts, and what an export does with what they find."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.exports.gates.checks import check_record, find_hits
from apps.exports.gates.loops import loop, times_allowed
from apps.exports.gates.texts import GATE_HINTS, GATE_WORDS, GATES, Read, Texts, Thresholds
from apps.exports.gates.twins import Twins, digest_of

PROSE = (
    "The patient has a low potassium, which insulin would drive further down into the cells. "
    "So the potassium has to be replaced first, and the insulin is started when it is safe. "
    "The other options do not treat what is most dangerous now. Therefore the answer is D."
)
SAID = "Replace the potassium first, because insulin lowers it. The answer is D."


def found(cot: str = PROSE, response: str = SAID, **fields) -> set[tuple[str, str]]:
    texts = Texts(cot=cot, response=response, **({"key": "D", "cot_answer": "D", "response_answer": "D"} | fields))
    return {(f.gate, f.part) for f in check_record(texts)}


def test_a_good_record_passes_every_gate():
    assert found() == set()


@pytest.mark.parametrize(
    ("changed", "gate", "part"),
    [
        ({"cot": PROSE + " 因此需要先补充钾,然后再给胰岛素治疗,否则会有危险。"}, "language", "cot"),
        ({"response": "El paciente tiene potasio bajo y primero debe reponerse. " * 5}, "language", "response"),
        ({"cot": "Because it is low."}, "too_short", "cot"),
        ({"response": "D"}, "too_short", "response"),
        ({"response": " ".join(f"word{n} is of the kind" for n in range(300))}, "too_long", "response"),
        (
            {"response": "I'm sorry, but I cannot provide medical advice.", "response_answer": ""},
            "refusal",
            "response",
        ),
        ({"cot": "As an AI language model, I can't help with this one.", "cot_answer": ""}, "refusal", "cot"),
        ({"cot": PROSE + " The next thing to", "cot_answer": ""}, "truncated", "cot"),
        ({"finish_reason": "length"}, "truncated", "cot"),
        ({"cot": "- Example 1 involves a pregnant woman.\n" + PROSE}, "leaked_prompt", "cot"),
        ({"cot": "1. **Consider relevant information from examples:**\n" + PROSE}, "leaked_prompt", "cot"),
        ({"response": SAID + "<|im_end|>"}, "leaked_prompt", "response"),
        ({"response": "### Response:\n" + SAID}, "leaked_prompt", "response"),
        ({"response": "Assistant: " + SAID}, "leaked_prompt", "response"),
        ({"cot": PROSE + " Wait, I should check this again." * 3}, "loop", "cot"),
        ({"cot": "the potassium has to be replaced and then " * 30 + PROSE}, "loop", "cot"),
        ({"cot": PROSE + "</think>"}, "think_tag", "cot"),
        ({"response": "## Thinking\n" + SAID}, "think_tag", "response"),
        ({"cot_answer": "B"}, "answer", "cot"),
        ({"response_answer": ""}, "answer", "response"),
        ({"twin": True}, "twin", "cot"),
    ],
)
def test_each_gate_finds_what_it_is_for(changed, gate, part):
    assert (gate, part) in found(**changed)


@pytest.mark.parametrize(
    "cot",
    [
        PROSE + " The α-blocker lowers the pressure at 5 µg, β₂ is spared; naïve Sjögren and Ménière, ≥ 3 – ok.",
        PROSE + " The patient said: I'm sorry, I cannot help you with that, doctor.",
        PROSE + " For example, 1 involves the kidney. In an example 2 kidneys are involved.",
        "Option A: it is not correct here. " + "Option B: it is not the cause here. " + PROSE,
        PROSE + "\n\n**Answer: D**",
        PROSE + "\n\nThe answer is D) Replace potassium",
        "## Response to treatment\n" + PROSE,
        "You are asked for the next step. Think of the blood <thinking about it> again. " + PROSE,
    ],
)
def test_no_gate_stops_at_what_only_looks_like_it(cot):
    assert found(cot) == set()


def test_a_path_without_an_answer_is_not_one_that_contradicts_the_key():
    assert ("answer", "cot") not in found(cot_answer="")


def test_a_finding_names_its_sentence_and_shows_it():
    texts = Texts(cot="One is said. Two is said. <think> Three.", response=SAID, key="D", response_answer="D")
    tag = next(f for f in check_record(texts) if f.gate == "think_tag")
    assert (tag.sentence, "<think>" in tag.excerpt) == (3, True)


def test_every_gate_has_its_words():
    assert set(GATE_WORDS) == set(GATE_HINTS) == set(GATES)


def test_thresholds_change_what_is_found():
    short = Texts(cot=PROSE, response=SAID, key="D", cot_answer="D", response_answer="D")
    assert [f.gate for f in check_record(short, Thresholds(cot_words=(500, 600)))] == ["too_short"]
    assert [f.gate for f in check_record(short, Thresholds(cot_words=(1, 10)))] == ["too_long"]


@pytest.mark.parametrize(
    ("words", "times"), [(0, 3), (199, 3), (200, 4), (399, 4), (400, 5), (1_600, 7), (6_399, 8), (6_400, 9)]
)
def test_how_often_is_too_often_grows_with_the_length(words, times):
    assert times_allowed(words, Thresholds()) == times


@pytest.mark.parametrize("words", [150, 700, 3_000])
def test_a_sentence_said_once_less_is_no_loop(words):
    """Sentences that differ in a number, and one said as often as is allowed, or once more."""
    said, times = "But the options do not have that.", times_allowed(words, Thresholds())
    others = [f"Finding number {n} is looked at next to finding {n + 1}." for n in range((words - 7 * times) // 10)]
    for count in (times - 1, times):
        text = " ".join([*others, *[said] * count])
        assert (("loop", "cot") in found(cot=text)) == (count == times)


@pytest.mark.parametrize(("words", "loops"), [(150, False), (300, False), (600, True)])
def test_a_short_text_may_quote_its_question_more_than_once(words, loops):
    """A third of its runs stood in it before, one sentence said twice."""
    quoted = " ".join(f"quoted{n}" for n in range(words // 3 + 12))
    rest = " ".join(f"the{n} of{n}" for n in range((words - 2 * len(quoted.split())) // 2))
    text = f"{quoted}. {rest} {quoted}."
    assert (loop(Read("cot", text, "D"), Texts(text, SAID, "D"), Thresholds()) is not None) == loops


def test_spaces_do_not_hide_a_loop():
    odd = ["Wait, I should check this again.", "Wait,  I should check this again.", "Wait, I should\tcheck this again."]
    assert ("loop", "cot") in found(cot=PROSE + " " + " ".join(odd))


def test_gates_that_are_off_find_nothing():
    texts = Texts(cot="<think> As an AI, I cannot help", response="", key="D")
    every = {hit.gate for hit in find_hits(texts)}
    assert every >= {"think_tag", "too_short", "truncated", "answer"}
    for gate in every:
        assert {hit.gate for hit in find_hits(texts, gates=set(GATES) - {gate})} == every - {gate}
    assert find_hits(texts, gates=()) == []


ODD = st.text(max_size=300) | st.lists(
    st.sampled_from(
        ("<think>", "</", "Example 1 involves", "I cannot help", "漢字", "\n\n", ". ", "a", "\x00", "\ud800", "**")
    ),
    max_size=60,
).map("".join)


@given(ODD, ODD, st.sampled_from(("", "A", "D")), st.sampled_from(("", "stop", "length")), st.booleans())
def test_no_text_makes_a_gate_fail(cot, response, answer, finish, twin):
    texts = Texts(cot, response, "D", answer, answer, finish, twin)

    findings = check_record(texts)

    assert len({(f.gate, f.part) for f in findings}) == len(findings)
    assert [GATES.index(f.gate) for f in findings] == sorted(GATES.index(f.gate) for f in findings)
    assert all(f.gate in GATE_WORDS and f.said and len(f.excerpt) <= 160 and f.sentence >= 0 for f in findings)


@given(ODD, st.sampled_from((" ", "\n\n", "\t")))
def test_the_same_path_twice_is_always_a_twin(text, space):
    twins = Twins()
    twins.remember(digest_of(text), (1, 1))
    again = digest_of(space + text.upper().lower().replace(" ", space) + space)
    if text.upper().lower() == text.lower():  # not so for a few letters, such as ß
        assert twins.earlier(again) == ((1, 1) if text.split() else None)


def test_the_first_of_twins_is_kept_in_mind():
    twins = Twins()
    for place in ((7, 1), (7, 2), (2**40, 3)):
        twins.remember(digest_of(PROSE), place)
    twins.remember(digest_of(SAID), (2**40, 3))
    assert (twins.earlier(digest_of(PROSE)), twins.earlier(digest_of(SAID))) == ((7, 1), (2**40, 3))
    assert twins.earlier(digest_of("Something else.")) is None
