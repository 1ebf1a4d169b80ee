"""Error classes in words: what each means and what a person can do about it, one plain line each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClassWords:
    word: str
    meaning: str
    advice: str


CLASSES = {
    "connection": ClassWords(
        "Connection lost or timed out",
        "The server could not be reached, or it went silent before its reply was whole.",
        "Check that it runs and that its address is right, then try again.",
    ),
    "server": ClassWords(
        "Server error (5xx)",
        "The server failed while it was answering.",
        "Its own log says why. Try again once it is well.",
    ),
    "rate_limit": ClassWords(
        "Rate limit (429)",
        "The provider asked for a slower pace.",
        "Try again later; a lower requests_per_minute or max_in_flight in the next run keeps it from happening.",
    ),
    "refused": ClassWords(
        "Refused (4xx)",
        "The server will not take this request: its words say what is wrong with it.",
        "Mend what they name, then try again. Unless something changed, the answer will be the same.",
    ),
    "access": ClassWords(
        "No access (401, 403, 404, quota)",
        "The endpoint does not let us in: the key, the quota or the model’s name. Its questions wait; one call a minute finds out.",
        "Put right what the server’s words name; the work then goes on by itself.",
    ),
    "length": ClassWords(
        "Cut off at the token cap",
        "The reply was not finished within max_tokens, nor within twice as many.",
        "Try again for another sample. If it happens often, allow more max_tokens in the next run.",
    ),
    "empty": ClassWords(
        "Reply without text",
        "The model answered with nothing that could be kept.",
        "Try again for another sample. If it happens often, look at the server’s chat template.",
    ),
    "schema": ClassWords(
        "Reply not in the form asked for",
        "The reply is not the JSON asked for, contradicts itself, or ends at another answer than the key.",
        "Read the samples; trying again draws new ones. If it happens often, check that the server does structured output.",
    ),
    "unknown": ClassWords(
        "Sent, but the reply was never booked",
        "A worker died between sending the call and writing down its reply. It counts at the most it can have cost.",
        "Nothing: the output was made by another call.",
    ),
    "budget": ClassWords(
        "Held back by the budget",
        "The run’s budget had no room for the call.",
        "Raise the budget and resume the run, then try again.",
    ),
}


def words_of(error_class: str) -> ClassWords:
    """A class that is not listed is shown as it is written."""
    return CLASSES.get(error_class) or ClassWords(error_class or "No class given", "", "Read the server’s words.")
