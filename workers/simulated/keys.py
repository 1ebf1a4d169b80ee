"""Keys of the questions in the database, for simulated models alone: their accuracy is chosen, so they must know it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable

from django.db import Error, connection

from apps.questions.models import Question
from apps.questions.text import LETTERS, join_question
from workers.simulated.dice import digest
from workers.simulated.server import KeysUnavailableError


class DatabaseKeys:
    """A hash of each question's joined text → its key's letter, in memory (about 100 bytes a question).

    Filled at the first request. A question that is not known makes it look for rows added since, and read everything
    anew if the number of rows is not what it read (rows of an import that committed later than its ids suggest).
    """

    def __init__(self) -> None:
        self._letters: dict[int, str] = {}
        self._read = 0
        self._last = 0
        self._lock = threading.Lock()

    async def key_of(self, question: str) -> str:
        number = digest(question)
        found = self._letters.get(number)
        if found is None:
            await asyncio.to_thread(self._refresh, number)
            found = self._letters.get(number, "")
        return found

    def _refresh(self, number: int) -> None:
        with self._lock:
            if number in self._letters:
                return
            try:
                self._load()
                if number not in self._letters and Question.objects.count() != self._read:
                    self._read = self._last = 0
                    self._load()
            except Error as error:
                raise KeysUnavailableError(f"simulated: the questions cannot be read: {error}") from error
            finally:
                connection.close()

    def _load(self) -> None:
        rows: Iterable[tuple[int, list[dict[str, str]], str, list[str], int]] = (
            Question.objects.filter(pk__gt=self._last)
            .order_by("pk")
            .values_list("pk", "contexts", "stem", "options", "key")
            .iterator(chunk_size=2000)
        )
        for pk, contexts, stem, options, key in rows:
            self._letters.setdefault(digest(join_question(contexts, stem, options)), LETTERS[key])
            self._read += 1
            self._last = pk
