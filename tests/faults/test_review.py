"""kill -9 of the web server and of PostgreSQL while people judge: every save that was answered 2xx is there, once.

REASONMED_SAVES=1000 asks for more saves than the default.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from reasonmed_site import postgres
from tests.faults.instance import ROOT, Instance, free_port, wait_for

pytestmark = pytest.mark.faults
SAVES = int(os.environ.get("REASONMED_SAVES", "240"))
PEOPLE = 8
KILLS = 3  # of each kind
PATIENCE_S = 120.0
SETUP = """
import json
from django.test import Client
from apps.review.queues.build import build_queue
from apps.review.queues.plans import parse_plan
from tests.factories import make_user
from tests.reasoning.test_ledger import make_true_run
run = make_true_run({questions})
queue = build_queue(run=run, name="faults", plan=parse_plan({{"size": 200_000}}), overlap={people})
sessions = []
for number in range({people}):
    client = Client()
    client.force_login(make_user("clinician", username=f"person-{{number}}"))
    sessions.append(client.cookies["sessionid"].value)
print(json.dumps({{"run": run.name, "queue": queue.pk, "sessions": sessions}}))
"""


class Web:
    """gunicorn in a process group of its own, so that a kill takes master and workers at once."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.instance.var / "web.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "reasonmed_site.wsgi:application", "--bind", f"127.0.0.1:{self.port}",
                 "--no-control-socket", "--worker-class", "gthread", "--workers", "2", "--threads", "4", "--log-level", "warning"],
                cwd=ROOT, env=self.instance.env, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(30)


@dataclass
class Saved:
    """What the server said it had saved, by idempotency key; and what happened on the way."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: int = 0  # requests that got no answer, or 5xx
    replayed: int = 0  # saved before the answer was lost
    faults: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        return len(self.answers)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    with Instance(tmp_path / "var") as instance:
        yield instance


def test_every_save_that_was_answered_is_there(instance: Instance) -> None:
    questions = 3 * SAVES // PEOPLE // 9 + 2  # a kill holds some up: the others then judge more than their share
    world = json.loads(
        instance.manage("shell", "-c", SETUP.format(questions=questions, people=PEOPLE)).splitlines()[-1]
    )
    web, saved = Web(instance), Saved()
    web.start()
    try:
        people = [
            threading.Thread(target=judge_on, args=(web.port, session, world["queue"], saved))
            for session in world["sessions"]
        ]
        for person in people:
            person.start()
        disturb(instance, web, saved)
        for person in people:
            person.join(PATIENCE_S)
        assert not any(person.is_alive() for person in people), "someone never got an answer"
    finally:
        web.kill()
    assert saved.faults == []
    assert saved.count >= SAVES
    assert saved.failed > 0, "no request was in flight at any kill: the test proves nothing"
    assert_all_there(instance, world, saved)


def disturb(instance: Instance, web: Web, saved: Saved) -> None:
    """The web server and PostgreSQL killed in turns, spread over the saves."""
    for number in range(1, 2 * KILLS + 1):
        wait_for(lambda n=number: saved.count >= SAVES * n // (2 * KILLS + 2), f"save before kill {number}", PATIENCE_S)  # type: ignore[misc]
        if number % 2:
            web.kill()
            web.start()
        else:
            instance.postmaster().send_signal(signal.SIGKILL)
            wait_for(lambda: postgres.running(instance.var) is None, "PostgreSQL to be gone")
            postgres.start(instance.var)


def judge_on(port: int, session: str, queue: int, saved: Saved) -> None:
    """One person: the next item, a judgment, again, until enough is saved. A save without an answer is sent again."""
    try:
        while saved.count < SAVES:
            _, claimed = ask(port, session, f"/queues/{queue}/claim", {"prefetch": 0}, saved)
            assert claimed["items"], claimed["empty"]
            item, key = claimed["items"][0], str(uuid4())
            label = "error" if item["position"] % 3 else "correct"
            body = {
                "token": item["token"], "idempotency_key": key, "expected_version": item["version"], "label": label,
                "comment": f"Said once: {key}",
            }  # fmt: skip
            status, answer = ask(port, session, f"/queue-items/{item['id']}/judge", body, saved)
            with saved.lock:
                saved.answers[key] = {"item": item["id"], "label": label}
                saved.replayed += status == 200
                if answer["judgment"]["label"] != label:
                    saved.faults.append(f"{key}: {answer}")
    except Exception as error:
        saved.faults.append(repr(error))


def ask(port: int, session: str, path: str, body: dict[str, Any], saved: Saved) -> tuple[int, dict[str, Any]]:
    """The first answer below 500, however often it takes: what a page does with an unsaved judgment."""
    token = "a" * 32
    headers = {
        "Content-Type": "application/json",
        "Cookie": f"sessionid={session}; csrftoken={token}",
        "X-CSRFToken": token,
    }
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        with suppress(OSError, http.client.HTTPException):
            connection.request("POST", f"/api/v1{path}", json.dumps(body), headers)
            reply = connection.getresponse()
            text = reply.read()
            if reply.status < 500:
                connection.close()
                assert reply.status < 300, f"{path}: {reply.status} {text!r}"
                return reply.status, json.loads(text)
        connection.close()
        with saved.lock:
            saved.failed += 1
        time.sleep(0.1)
    raise AssertionError(f"no answer from {path}")


def assert_all_there(instance: Instance, world: dict[str, Any], saved: Saved) -> None:
    rows = instance.query(
        """SELECT v.idempotency_key::text, j.item_id, v.label, j.comment FROM review_judgment j
           JOIN reasoning_verdict v ON v.id = j.verdict_id"""
    )
    found = {key: (item, label, comment) for key, item, label, comment in rows}
    assert found == {key: (a["item"], a["label"], f"Said once: {key}") for key, a in saved.answers.items()}
    assert len(rows) == len(found) == instance.count("SELECT count(*) FROM reasoning_verdict WHERE source = 'person'")
    assert instance.count("SELECT max(n) FROM (SELECT count(*) n FROM review_judgment GROUP BY claim_id) c") == 1
    doubtful = "SELECT count(*) FROM review_queueitem i WHERE done <> (SELECT count(*) FROM review_claim c WHERE c.item_id = i.id AND c.state = 'judged')"
    assert instance.count(doubtful) == 0
    assert json.loads(instance.manage("check_ledger", world["run"], "--json"))["drift"] == 0
