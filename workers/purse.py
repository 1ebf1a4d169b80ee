"""A pump's money: what its next calls can cost is set aside before they are sent, many at a time."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from apps.pipeline.budget import Wanted, reserve
from apps.pipeline.worst_case import most_it_costs
from apps.reasoning.policy.assess import Item
from workers.planning import Unit

if TYPE_CHECKING:
    from workers.attempts import Attempt


def wanted_for(unit: Unit, item: Item, attempt: Attempt, lease: uuid.UUID) -> Wanted:
    request = attempt.request
    return Wanted(
        id=attempt.id,
        run=unit.context.run.pk,
        lease=lease,
        question=unit.lease.question,
        stage=item.stage,
        item=item.key,
        endpoint=request.endpoint.name,
        model=request.endpoint.model,
        prompt=unit.context.prompt_of(item),
        attempt=attempt.number,
        amount=most_it_costs(request),
        created_at=attempt.started,
    )


class Purse:
    """`in_db` runs a function in the pump's database thread; one reservation there serves all that ask meanwhile."""

    def __init__(self, lease: uuid.UUID, in_db: Callable[..., Awaitable[Any]]) -> None:
        self.lease = lease
        self.in_db = in_db
        self._asked: list[tuple[Wanted, asyncio.Future[bool]]] = []
        self._clerk: asyncio.Task[None] | None = None

    async def reserve(self, unit: Unit, item: Item, attempt: Attempt) -> bool:
        """Set aside the most that the attempt can cost, under its id; False: the budget does not allow it."""
        wanted = wanted_for(unit, item, attempt, self.lease)
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._asked.append((wanted, answer))
        if self._clerk is None or self._clerk.done():
            self._clerk = asyncio.create_task(self._serve())
        attempt.reserved = await answer
        return attempt.reserved

    async def close(self) -> None:
        """Nobody asks any more; what was granted meanwhile is booked when the lease is gone."""
        if self._clerk is not None:
            self._clerk.cancel()
            await asyncio.gather(self._clerk, return_exceptions=True)

    async def _serve(self) -> None:
        while self._asked:
            asked, self._asked = self._asked, []
            try:
                granted = await self.in_db(reserve, [wanted for wanted, _ in asked])
            except BaseException as error:
                for _, answer in asked:
                    if not answer.done():
                        answer.set_exception(error)
                raise
            for wanted, answer in asked:
                if not answer.done():
                    answer.set_result(wanted.id in granted)
