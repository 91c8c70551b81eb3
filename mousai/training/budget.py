"""A run that is to take so many minutes: how many steps fit, measured as it goes, and the schedule that ends with them.

The first steps are timed; then the run validates, saves and exports once, to know what these take, and plans. Each time half
of what was left is done it looks again, so that a machine that slows down ends in time all the same, with the rate down.

The plan is a list of stages in `plan.yaml`, each from a step on. What is done in a step follows from its number and the
stages alone, so that a run that is stopped and started again keeps its plan and equals, to the bit, one that was not.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import TypeVar

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from mousai import config as configs
from mousai.training.config import TrainConfig

T = TypeVar("T")

PLAN = "plan.yaml"
TIMES = 10  # that a run at least validates, saves and makes samples, where the recipe wants these at all,
SHARE = 0.05  # unless one of them would then take more than this share of the time
LINES = 100  # of the log, at least
MARGIN = 0.02  # of the minutes, which is not planned for
EXACT = 0.01  # of the minutes: so long is measured first, and a plan that is off by less stays
PLANNED = ("steps", "warmup_steps", "decay_steps", "log_every", "save_every", "valid_every", "sample_every")


@dataclass(frozen=True)
class Costs:
    """How many seconds each thing takes, once."""

    step: float
    valid: float = 0.0
    sample: float = 0.0
    save: float = 0.0
    finish: float = 0.0  # what comes after the last step, such as the export of a model


@dataclass(frozen=True)
class Stage:
    """What a plan says from `from_step` on, as in a `TrainConfig`, and what it was made from."""

    from_step: int
    minutes: float
    costs: Costs
    steps: int
    warmup_steps: int
    decay_steps: int | None
    log_every: int
    save_every: int
    valid_every: int
    sample_every: int

    def over(self, config: TrainConfig) -> TrainConfig:
        """`config` with what is planned."""
        return replace(config, **{name: getattr(self, name) for name in PLANNED})


@dataclass(frozen=True)
class Plan:
    """All stages of a run, in the order of their steps."""

    stages: tuple[Stage, ...] = ()


def read_plan(folder: str | Path, config: TrainConfig) -> list[Stage]:
    """The stages of a run that follows `config`, none where nothing was planned; ValueError in one line for a damaged file."""
    path = Path(folder) / PLAN
    if not path.exists():
        return []
    try:
        stages = configs.from_dict(Plan, configs.read_yaml(path)).stages
        for stage in stages:
            stage.over(config)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; remove the file to plan anew".replace(f"{path}: {path}", str(path))) from error
    return list(stages)


def write_plan(folder: str | Path, stages: Sequence[Stage]) -> None:
    """Writes `plan.yaml`, whole or not at all."""
    configs.write_yaml(Path(folder) / PLAN, configs.to_dict(Plan(tuple(stages))))


def planned(config: TrainConfig, step: int, seconds: float, costs: Costs) -> TrainConfig:
    """`config` with as many steps as `seconds` hold from `step` on, `step` itself where they hold none, and a schedule for them.

    A fall of the rate over the last `decay_steps` is the same part of the steps as it is of `config`'s; the warm-up is
    `config`'s, a tenth of the steps at most.
    """
    wanted = {"valid_every": costs.valid, "sample_every": costs.sample, "save_every": costs.save}

    def often(steps: int) -> dict[str, int]:
        return {name: interval(getattr(config, name), steps, cost, costs.step) for name, cost in wanted.items()}

    def needed(count: int) -> float:
        steps = step + count
        times = {name: steps // every - step // every + 1 if every else 0 for name, every in often(steps).items()}  # and at the end
        return count * costs.step + sum(times[name] * cost for name, cost in wanted.items()) + costs.finish

    most = int(max(0.0, seconds) / costs.step)
    steps = step + max(0, bisect_right(range(most + 1), seconds, key=needed) - 1)
    decay = config.decay_steps and max(1, round(config.decay_steps / config.steps * steps))
    log_every = min(config.log_every, max(1, steps // LINES))
    return replace(config, steps=max(1, steps), warmup_steps=min(config.warmup_steps, steps // 10), decay_steps=decay, log_every=log_every, **often(steps))


def interval(every: int, steps: int, cost: float, step_cost: float) -> int:
    """Steps between two times of what a recipe wants `every` so many steps (0 = never) and costs `cost` seconds, in a run of `steps`."""
    return every and max(1, min(every, math.ceil(steps / TIMES)), math.ceil(cost / (SHARE * step_cost)))


class Budget:
    """Plans a run of `config.minutes`, counted from the clock's `began`, and says which settings hold in which step.

    Without `minutes` those of the recipe do, throughout. A plan for as many minutes that is in `folder` already is kept as
    it is: what is left of the time is known only to the process that made it. For other minutes than the plan's it is
    planned anew from `step` on.
    """

    def __init__(self, config: TrainConfig, folder: str | Path, accelerator: Accelerator, step: int, began: float | None = None) -> None:
        self.recipe, self.folder, self.accelerator = config, Path(folder), accelerator
        began = monotonic() if began is None else began
        self.end = None if config.minutes is None else began + 60 * config.minutes
        self.stages = [] if config.minutes is None else read_plan(folder, config)
        self.planning = not is_planned(config, self.stages)
        if self.planning:
            self.stages = [stage for stage in self.stages if stage.from_step <= step]
        self.first = step
        self.next_look: int | None = None  # the step after which the plan is looked at again
        self.costs = self.stages[-1].costs if self.stages else Costs(step=0.0)
        self.aside = 0.0  # seconds of this process that went into `timed` things
        self.since = (step, self._working())

    @property
    def steps(self) -> int | None:
        """The number of steps in all, None while nobody knows."""
        return None if self.planning else steps_of(self.recipe, self.stages)

    def is_last(self, step: int) -> bool:
        """Whether nothing is left to do after `step` steps."""
        return self.steps is not None and step >= self.steps

    def settings(self, step: int) -> TrainConfig:
        """What holds in the step after `step` steps."""
        stage = next((stage for stage in reversed(self.stages) if stage.from_step <= step), None)
        return self.recipe if stage is None else stage.over(self.recipe)

    @property
    def is_spent(self) -> bool:
        """Whether saving and what follows take all that is left of the time."""
        return self.end is not None and monotonic() >= self.end - self.costs.save - self.costs.finish

    def is_trial(self, step: int) -> bool:
        """Whether enough steps were timed: then everything else is to be done once as well, `timed`, and `plan` called.

        All processes ask after each step and hear the same.
        """
        count, (first, began) = step - self.first, self.since
        if not self.planning or count < 1 or count & (count - 1):  # after 2, 4, 8, … steps the last half of them is timed
            return False
        took = self._working() - began
        enough = count >= 2 and self._agreed(took >= EXACT * 60 * self.recipe.minutes)
        if enough:
            self.costs = replace(self.costs, step=took / (step - first))
        self.since = (step, self._working())
        return enough

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Something beside the steps, of the name that it has in `Costs`."""
        began = monotonic()
        yield
        took = monotonic() - began
        self.aside += took
        self.costs = replace(self.costs, **{name: took})

    def look(self, step: int) -> str:
        """Each time half of what was left is done, plans the rest again; returns what there is to say. `step` may then be the last."""
        if step != self.next_look:
            return ""
        first, began = self.since
        self.costs = replace(self.costs, step=(self._working() - began) / (step - first))
        return self.plan(step)

    def plan(self, step: int) -> str:
        """Plans what follows `step`, if the plan is not good as it is; returns what there is to say."""
        stage, before = self._agreed(self._stage(step)), self.steps
        least = EXACT * 60 * stage.minutes / stage.costs.step  # steps that matter
        changed = before is None or abs(stage.steps - before) > least
        if changed:
            self.stages.append(stage)
            if self.accelerator.is_main_process:
                write_plan(self.folder, self.stages)
        self.planning, self.since = False, (step, self._working())
        rest = self.steps - step
        self.next_look = step + -(-rest // 2) if rest > least else None
        return f"plan: {stage.steps} steps in {stage.minutes:g} min, of {stage.costs.step:.3g} s each" if changed else ""

    def _stage(self, step: int) -> Stage:
        left = self.end - monotonic() - MARGIN * 60 * self.recipe.minutes
        config = planned(self.recipe, step, left, self.costs)
        return Stage(step, self.recipe.minutes, self.costs, **{name: getattr(config, name) for name in PLANNED})

    def _agreed(self, value: T) -> T:
        """The first process' value, in all of them."""
        return broadcast_object_list([value])[0] if self.accelerator.num_processes > 1 else value

    def _working(self) -> float:
        """A clock that stands still while something is `timed`."""
        return monotonic() - self.aside


def is_planned(config: TrainConfig, stages: Sequence[Stage]) -> bool:
    """Whether it is settled how many steps a run has, of a recipe and what was planned."""
    return config.minutes is None or bool(stages and stages[-1].minutes == config.minutes)


def steps_of(config: TrainConfig, stages: Sequence[Stage]) -> int:
    """How many steps a run has whose plan `is_planned`."""
    return config.steps if config.minutes is None else stages[-1].steps
