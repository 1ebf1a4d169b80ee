"""The one actor. A lost, late or doubled message changes nothing: the pump's slot is claimed in the ledger."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import dramatiq
from django.db import connection

from workers.batch.wake import SLOT
from workers.broker import QUEUE, broker
from workers.pump import LIFE_S, Pump
from workers.simulation import make_backend, resolve

if TYPE_CHECKING:
    from workers.batch.pump import BatchPump

stopping = threading.Event()


@dramatiq.actor(broker=broker, queue_name=QUEUE, max_retries=0, time_limit=int(LIFE_S * 3_000))
def pump(lane: str, slot: int) -> None:
    try:
        mine: Pump | BatchPump
        if slot == SLOT:
            from workers.batch.pump import (
                BatchPump,
            )  # it loads the openai package: a second that most workers do not need

            mine = BatchPump(lane, resolve, stopping.is_set)
        else:
            mine = Pump(lane, slot, make_backend, stopping.is_set)
        if mine.run():
            pump.send(lane, slot)
    finally:
        connection.close()
