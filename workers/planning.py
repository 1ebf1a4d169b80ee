"""From leased tasks to items with their material."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from apps.pipeline.config import RunConfig
from apps.pipeline.lanes import lane_of
from apps.pipeline.material import load_material
from apps.pipeline.models import PromptVersion
from apps.pipeline.prompts import LATER, Prompt, load_prompts, prompt_from_text
from apps.pipeline.stages import BY_NAME
from apps.pipeline.stages.base import Material
from apps.reasoning.facts import load_facts, policy_of
from apps.reasoning.models import Run
from apps.reasoning.policy.assess import Item, assess
from workers.leases import Leased, lease_tasks


@dataclass(slots=True)
class RunContext:
    """A run as a pump needs it: its configuration and prompts as frozen; prompts that came later as they are shipped."""

    run: Run
    config: RunConfig
    prompts: dict[str, Prompt]

    def prompt_of(self, item: Item) -> str:
        """The hash of the prompt that asks for this item."""
        return self.prompts[BY_NAME[item.stage].prompt_name(item)].sha256


@dataclass(slots=True)
class Unit:
    """A leased question: the items missing in this lane."""

    context: RunContext
    lease: Leased
    items: list[Item]
    material: Material | None
    left: int = 0
    deferred: str = ""  # why it goes back to be leased again later
    patient: bool = True  # no item was deferred for a failure of its own
    retry_in: float | None = None

    def require_material(self) -> Material:
        assert self.material is not None, "a unit with items has its material"
        return self.material

    def defer(self, reason: str, *, patient: bool, retry_in: float | None = None) -> None:
        """It goes back; one item that failed by itself makes the return count."""
        self.deferred = reason
        self.patient = self.patient and patient
        if retry_in is not None:
            self.retry_in = max(self.retry_in or 0, retry_in)


class Planner:
    """Keeps the runs' contexts between leases."""

    def __init__(self, lane: str) -> None:
        self.lane = lane
        self.contexts: dict[int, RunContext] = {}

    def lease_units(self, token: uuid.UUID, limit: int, *, batch_of: int | None = None) -> list[Unit]:
        leased = lease_tasks(token, self.lane, limit, batch_of=batch_of)
        units: list[Unit] = []
        for run_id in sorted({task.run for task in leased}):
            units += self._plan(self.context(run_id), [task for task in leased if task.run == run_id])
        return units

    def _plan(self, context: RunContext, tasks: list[Leased]) -> list[Unit]:
        facts = load_facts(context.run, [task.question for task in tasks])
        policy = policy_of(context.run)
        found = {pk: assess(f, policy) for pk, f in facts.items()}
        items = {
            pk: [item for item in a.items if lane_of(context.config, item) == self.lane] for pk, a in found.items()
        }
        material = load_material(context.run, facts, found, items)
        return [
            Unit(
                context,
                task,
                items.get(task.question, []),
                material.get(task.question),
                len(items.get(task.question, [])),
            )
            for task in tasks
        ]

    def context(self, run_id: int) -> RunContext:
        if run_id not in self.contexts:
            run = Run.objects.get(pk=run_id)
            config = RunConfig.model_validate(run.config)
            texts = dict(PromptVersion.objects.filter(pk__in=config.prompts.values()).values_list("sha256", "text"))
            prompts = {name: prompt_from_text(name, texts[digest]) for name, digest in config.prompts.items()}
            self.contexts[run_id] = RunContext(run, config, _later_prompts(prompts) | prompts)
        return self.contexts[run_id]


def _later_prompts(frozen: dict[str, Prompt]) -> dict[str, Prompt]:
    """What a run was frozen without because it did not exist then, each with its row for the calls that name it."""
    later = {name: prompt for name, prompt in load_prompts().items() if name in LATER and name not in frozen}
    for prompt in later.values():
        PromptVersion.objects.get_or_create(sha256=prompt.sha256, defaults={"name": prompt.name, "text": prompt.text})
    return later
