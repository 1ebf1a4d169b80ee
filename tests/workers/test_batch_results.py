"""The lines of a batch's files, whatever they hold; and how a provider's batches are read."""

from __future__ import annotations

import io
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.pipeline.protocol import ModelError, Reply
from workers.batch.provider import read_view
from workers.batch.results import MAX_LINE, Line, lost, read_line, read_lines

BODY = {
    "choices": [{"message": {"content": "x"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1},
}
VIEW = {"id": "batch_1", "status": "in_progress", "created_at": 1_700_000_000}


def raw(**fields: Any) -> bytes:
    line = {"id": "batch_req_1", "custom_id": "1:2:verify:path:3:1", "response": None, "error": None, **fields}
    return orjson.dumps(line)


def response(status: Any, body: Any) -> dict[str, Any]:
    return {"status_code": status, "request_id": "req_1", "body": body}


def outcome(line: Line | None) -> Reply | ModelError:
    assert line is not None
    return line.outcome


def test_a_reply_is_matched_by_its_custom_id() -> None:
    line = read_line(raw(response=response(200, BODY)))
    assert line is not None
    assert line.custom_id == "1:2:verify:path:3:1"
    assert isinstance(line.outcome, Reply)
    assert (line.outcome.text, line.outcome.tokens_in, line.outcome.tokens_out) == ("x", 3, 1)


@pytest.mark.parametrize(
    ("fields", "error_class", "words", "billed"),
    [
        ({"response": response(400, {"error": {"message": "bad"}})}, "refused", "400: bad", False),
        ({"response": response(429, {"error": {"message": "slow"}})}, "rate_limit", "429: slow", False),
        ({"response": response(429, {"error": {"code": "insufficient_quota", "message": "pay"}})}, "access", "429: pay", False),
        ({"response": response(500, None)}, "server", "the server answers 500", False),
        ({"error": {"code": "batch_expired", "message": "too late"}}, "server", "batch_expired: too late", False),
        ({"error": {}}, "server", "the provider did not carry it out", False),
        ({"response": response(200, {"error": {"message": "sk-1 broke"}})}, "server", "[key] broke", True),
        ({"response": response(200, "text")}, "server", "the reply is not a chat completion: it has no choices[0].message", True),
        ({"response": response("200", BODY)}, "server", "the line has neither a response nor an error", True),
        ({}, "server", "the line has neither a response nor an error", True),
    ],
)  # fmt: skip
def test_what_a_line_stands_for(fields: dict[str, Any], error_class: str, words: str, billed: bool) -> None:
    error = outcome(read_line(raw(**fields), "sk-1"))
    assert isinstance(error, ModelError)
    assert (error.error_class, error.message, error.maybe_billed) == (error_class, words, billed)


@pytest.mark.parametrize("line", [b"{", b"[]", b"null", raw(custom_id=7), raw(custom_id=""), raw(custom_id="x" * 201)])
def test_lines_that_name_nobody_are_passed_over(line: bytes) -> None:
    assert read_line(line) is None


def test_lone_surrogates_and_nul_do_not_reach_the_ledger() -> None:
    line = read_line(raw(response=response(200, BODY)).replace(b'"x"', b'"a\\ud800b\\u0000"'))
    reply = outcome(line)
    assert isinstance(reply, Reply)
    assert reply.text == "a\ufffdb\ufffd"


def test_a_line_without_end_is_passed_over_and_the_next_is_read() -> None:
    content = io.BytesIO(b'{"x": "' + b"y" * (2 * MAX_LINE) + b'"}\n\n' + raw(response=response(200, BODY)))
    first, second = read_lines(content, "")
    assert first is None
    assert isinstance(outcome(second), Reply)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
        lambda x: (
            st.lists(x)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "custom_id",
                        "response",
                        "error",
                        "status_code",
                        "body",
                        "choices",
                        "message",
                        "code",
                        "status",
                        "id",
                    ]
                ),
                x,
            )
        ),
    )
)
def test_nothing_breaks_the_readers(data: object) -> None:
    line = read_line(orjson.dumps(data))
    assert line is None or isinstance(line.outcome, Reply | ModelError)
    if isinstance(data, dict):
        with suppress(ModelError):
            assert read_view(data).id


def test_a_request_without_a_line_is_billed_only_where_the_provider_counts_more_than_it_gave() -> None:
    assert lost(paid=True).maybe_billed
    assert not lost(paid=False).maybe_billed


def test_a_batch_is_read_with_its_counts_and_complaints() -> None:
    problems = [{"code": "invalid_json_line", "message": "not JSON", "line": 3}, {"code": "only_a_code"}, "odd"]
    view = read_view(
        {
            **VIEW,
            "status": "failed",
            "metadata": {"workbench_job": "j1"},
            "request_counts": {"total": 3, "completed": 2, "failed": -1},
            "errors": {"object": "list", "data": problems},
            "output_file_id": "file-Ab_1",
        }
    )
    assert (view.job, view.completed, view.failed, view.ended) == ("j1", 2, None, True)
    assert view.words == "line 3: not JSON; only_a_code"
    assert view.codes == ("invalid_json_line", "only_a_code")
    assert (view.output_file, view.error_file) == ("file-Ab_1", "")
    assert view.created_at == datetime.fromtimestamp(1_700_000_000, UTC)


@pytest.mark.parametrize(
    "fields", [{"id": "../../admin"}, {"id": ""}, {"id": None}, {"status": "new"}, {"output_file_id": "a/b"}, {"status": {}}]
)  # fmt: skip
def test_an_odd_batch_is_the_providers_fault(fields: dict[str, Any]) -> None:
    with pytest.raises(ModelError) as caught:
        read_view({**VIEW, **fields})
    assert caught.value.error_class == "server"
