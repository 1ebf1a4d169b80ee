"""What HTTP replies mean: classes, waits, hostile content."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.pipeline.protocol import ModelError, Reply
from workers.backends.replies import MAX_TOKENS, cleaned, http_error, read_reply, retry_after

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def body(message: object, **more: object) -> bytes:
    return orjson.dumps({"choices": [{"message": message, "finish_reason": "stop"}], **more})


def test_a_whole_reply():
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 8}}

    reply = read_reply(
        body({"content": "x", "reasoning_content": "r"}, usage=usage, model="m", system_fingerprint="f"), latency_ms=7
    )

    assert reply == Reply("x", "r", "stop", "m", 10, 5, 8, "f", 7)


@pytest.mark.parametrize(
    ("message", "text", "reasoning"),
    [
        ({"content": None}, "", ""),
        ({"content": None, "refusal": "no"}, "", ""),
        ({}, "", ""),
        ({"content": ["x"]}, "", ""),
        ({"content": "x", "reasoning": "r"}, "x", "r"),
        ({"content": "x", "reasoning_content": 5}, "x", ""),
    ],
)
def test_messages_without_plain_text(message, text, reasoning):
    reply = read_reply(body(message))

    assert (reply.text, reply.reasoning) == (text, reasoning)


def test_nul_and_lone_surrogates_become_replacement_characters():
    raw = b'{"choices": [{"message": {"content": "a\\u0000b\\ud800c\\ud83d\\ude00"}, "finish_reason": "length"}], "model": "\\udfff"}'

    reply = read_reply(raw)

    assert reply.text == "a\ufffdb\ufffdc\U0001f600"
    assert reply.model == "\ufffd"
    assert reply.finish_reason == "length"


def test_bytes_that_are_not_utf8_are_replaced():
    assert read_reply(body({"content": "x"}).replace(b"x", b"\xffy")).text == "\ufffdy"


@pytest.mark.parametrize(
    "raw",
    [b"", b"<html>", b"[]", b"null", b"{}", b'{"choices": []}', b'{"choices": [{"message": "x"}]}', b"[" * 200_000],
)
def test_what_is_no_completion_is_the_servers_fault(raw):
    with pytest.raises(ModelError) as caught:
        read_reply(raw)

    assert caught.value.error_class == "server"


def test_an_error_in_a_200_is_an_error():
    with pytest.raises(ModelError, match="server: out of memory") as caught:
        read_reply(b'{"error": {"message": "out of memory"}}')

    assert caught.value.status == 200


@pytest.mark.parametrize(
    "usage",
    [
        None,
        "many",
        {"prompt_tokens": -1},
        {"prompt_tokens": "9"},
        {"prompt_tokens": True},
        {"prompt_tokens": MAX_TOKENS + 1},
    ],
)
def test_unbelievable_token_counts_are_dropped(usage):
    assert read_reply(body({"content": "x"}, usage=usage)).tokens_in is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(),
        lambda x: (
            st.lists(x)
            | st.dictionaries(st.sampled_from(["choices", "message", "content", "usage", "error", "model"]), x)
        ),
    )
)
def test_no_json_breaks_the_reader(data):
    assert outcome(orjson.dumps(data)) in ("read", "server")


def outcome(raw: bytes) -> str:
    try:
        read_reply(raw).text.encode()
    except ModelError as error:
        return error.error_class
    return "read"


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (301, "refused"), (400, "refused"), (401, "access"), (403, "access"), (404, "access"), (408, "connection"), (413, "refused"), (422, "refused"),
        (429, "rate_limit"), (500, "server"), (502, "server"), (503, "server"), (504, "server"), (529, "server"),
    ],
)  # fmt: skip
def test_each_status_has_its_class(status, expected):
    error = http_error(status, {}, b'{"error": {"message": "words"}}')

    assert (error.error_class, error.status) == (expected, status)
    assert ("words" in error.message) == (status != 301)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b'{"error": {"message": "bad  model"}}', "400: bad model"),
        (b'{"error": "bad"}', "400: bad"),
        (b'{"detail": [{"loc": ["body"]}]}', '400: [{"loc": ["body"]}]'),
        (b'{"message": "bad\\u0000"}', "400: bad\ufffd"),
        (b"plain words", "400: plain words"),
        (b"", "the server answers 400"),
    ],
)
def test_the_servers_words_are_kept(raw, words):
    assert http_error(400, {}, raw).message == words


def test_long_words_are_cut_and_a_key_is_blotted_out():
    error = http_error(401, {}, b"x" * 480 + b" key sk-secret-9 is wrong " + b"y" * 9000, secret="sk-secret-9")

    assert len(error.message) == 500
    assert "sk-s" not in error.message
    assert "[key]" in error.message


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "0.5"}, 0.5),
        ({"Retry-After": "Sun, 01 Mar 2026 12:00:30 GMT"}, 30),
        ({"Retry-After": "Sun, 01 Mar 2026 11:00:00 GMT"}, 0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "999999999"}, 3600),
        ({"Retry-After": "Sun, 01 Mar 2099 12:00:30 GMT"}, 3600),
        ({"Retry-After": "7", "retry-after-ms": "250"}, 0.25),
    ],
)
def test_waits(headers, seconds):
    assert retry_after(headers, now=NOW) == seconds


@given(st.text(st.characters(), max_size=50))
def test_cleaned_text_can_be_stored(text):
    found = cleaned(text)

    assert "\x00" not in found
    assert found.encode().decode() == found
    assert len(found) == len(text)
