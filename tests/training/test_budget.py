"""Plans in closed form, a planned run by a clock that counts its calls, and what is kept when it is stopped."""

import itertools
import shutil

import pytest
from accelerate import Accelerator
from safetensors.torch import load_file

from mousai import config
from mousai.training import budget
from mousai.training.budget import Budget, Costs, Stage, interval, planned, read_plan
from mousai.training.config import TrainConfig
from mousai.training.loop import learning_rate

RECIPE = TrainConfig(steps=1000, lr=1.0, warmup_steps=100, final_lr=0.1, save_every=10**6, valid_every=0)


@pytest.fixture
def ticking(monkeypatch):
    """A clock that is a twentieth of a second later each time that it is looked at."""
    ticks = itertools.count()
    monkeypatch.setattr(budget, "monotonic", lambda: 0.05 * next(ticks))


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(budget, "monotonic", clock)
    return clock


def state_of(folder):
    (path,) = (folder / "state").iterdir()
    return load_file(path / "state.safetensors")


def equal(one, other):
    return one.keys() == other.keys() and all((one[name] == other[name]).all() for name in one)


# The planner


def test_as_many_steps_as_fit_before_what_comes_after_them():
    assert planned(RECIPE, 0, 100.0, Costs(step=2.0)).steps == 50
    assert planned(RECIPE, 7, 100.0, Costs(step=2.0)).steps == 57
    assert planned(RECIPE, 0, 100.0, Costs(step=2.0, finish=9.0)).steps == 45
    assert planned(RECIPE, 0, 5000.0, Costs(step=2.0)).steps == 2500  # the recipe's steps are no limit


def seconds_of(found, costs):
    """How long a planned run takes from its first step on."""
    seconds = costs.finish
    for step in range(1, found.steps + 1):
        seconds += costs.step
        for every, cost in ((found.valid_every, costs.valid), (found.sample_every, costs.sample), (found.save_every, costs.save)):
            seconds += cost if every and (step % every == 0 or step == found.steps) else 0
    return seconds


@pytest.mark.parametrize("saving, validating", [(0.5, 2.0), (2.0, 0.0), (20.0, 20.0), (300.0, 1.0)])
@pytest.mark.parametrize("every", [20, 10**6])
def test_validating_and_saving_are_counted(saving, validating, every):
    costs = Costs(step=1.0, save=saving, valid=validating, finish=7.0)
    found = planned(TrainConfig(steps=1000, save_every=every, valid_every=every), 0, 1000.0, costs)
    assert 990 - 2 * (saving + validating) <= seconds_of(found, costs) <= 1000.0


def test_a_run_saves_ten_times_unless_that_would_take_too_long():
    rare = TrainConfig(steps=1000, save_every=10**6, valid_every=0)
    assert planned(rare, 0, 1000.0, Costs(step=1.0, save=2.0)).save_every == 98
    assert planned(rare, 0, 1000.0, Costs(step=1.0, save=20.0)).save_every == 400  # of which saving is a twentieth
    assert planned(rare, 0, 1000.0, Costs(step=1.0, save=300.0)).save_every > 700  # at the end alone


def test_an_interval_is_the_recipe_s_or_shorter_unless_it_costs_too_much():
    assert interval(100, 5000, 0.0, 1.0) == 100
    assert interval(100, 500, 0.0, 1.0) == 50
    assert interval(100, 500, 4.0, 1.0) == 80
    assert interval(100, 5, 0.0, 1.0) == 1 and interval(0, 500, 4.0, 1.0) == 0


def test_where_nothing_fits_the_run_is_over():
    assert planned(RECIPE, 12, 3.0, Costs(step=1.0, finish=5.0)).steps == 12
    assert planned(RECIPE, 12, -3.0, Costs(step=1.0)).steps == 12


def test_the_schedule_keeps_the_recipe_s_shape():
    short = planned(RECIPE, 0, 200.0, Costs(step=1.0))
    assert (short.steps, short.warmup_steps, short.decay_steps) == (200, 20, None)
    assert learning_rate(short, 19) == pytest.approx(1.0, abs=0.01) and learning_rate(short, 199) == pytest.approx(0.1)
    long = planned(RECIPE, 0, 4000.0, Costs(step=1.0))
    assert (long.steps, long.warmup_steps) == (4000, 100)
    falling = TrainConfig(steps=1000, lr=1.0, decay_steps=200, final_lr=0.0, save_every=10**6, valid_every=0)
    found = planned(falling, 0, 50.0, Costs(step=1.0))
    assert found.decay_steps == 10 and learning_rate(found, 39) == 1.0 and learning_rate(found, 49) == 0.0
    assert planned(TrainConfig(steps=1000, log_every=100), 0, 300.0, Costs(step=1.0)).log_every == 3


# A run by the clock


def walk(kept, clock, step, until, seconds):
    """Steps of so many seconds each, with all that the plan has between them; returns the step, and what was said."""
    said = []
    while not kept.is_last(step) and step < until:
        setting = kept.settings(step)
        clock.now += seconds
        step += 1
        said.append(kept.look(step))
        trial = kept.is_trial(step)
        also = trial or kept.is_last(step)
        for name, every, cost in (("valid", setting.valid_every, 3.0), ("save", setting.save_every, 2.0)):
            if also or step % every == 0:
                with kept.timed(name):
                    clock.now += cost
        if trial:
            with kept.timed("finish"):
                clock.now += 4.0
            said.append(kept.plan(step))
    return step, [line for line in said if line]


def a_minute(tmp_path, step=0, minutes=1.0, **settings):
    recipe = TrainConfig(**{"steps": 5, "minutes": minutes, "save_every": 10**6, "valid_every": 10**6} | settings)
    return Budget(recipe, tmp_path, Accelerator(cpu=True), step)


def test_the_first_steps_are_timed_and_the_rest_is_planned(tmp_path, clock):
    kept = a_minute(tmp_path)
    assert kept.steps is None and not kept.is_last(5)
    clock.now += 10  # the first steps compile, and open files
    step, said = walk(kept, clock, 0, 4, 0.5)
    (stage,) = kept.stages
    assert stage.costs == Costs(step=0.5, valid=3.0, save=2.0, finish=4.0) and stage.from_step == 4
    left = 60 - 10 - 2 - 9
    assert 0 <= left - 1.2 - (0.5 * (stage.steps - 4) + 3 + 2 + 4) < 0.6  # one more validation, one more save
    assert said == [f"plan: {stage.steps} steps in 1 min, of 0.5 s each"] and read_plan(tmp_path, kept.recipe) == [stage]
    assert kept.settings(3) == kept.recipe and kept.settings(4).steps == kept.steps == stage.steps


def test_slow_steps_are_planned_after_the_second(tmp_path, clock):
    kept = a_minute(tmp_path)
    clock.now += 10
    step, _ = walk(kept, clock, 0, 10**6, 2.0)
    assert kept.stages[0].from_step == 2 and kept.stages[0].costs.step == 2.0 and step == kept.steps and clock.now + 4 < 60


def test_quick_steps_are_timed_until_a_hundredth_of_the_time_has_gone(tmp_path, clock):
    kept = a_minute(tmp_path)
    walk(kept, clock, 0, 64, 0.02)
    assert kept.stages[0].from_step == 64 and kept.stages[0].costs.step == pytest.approx(0.02)


def test_a_machine_that_slows_down_ends_in_time_with_the_rate_down(tmp_path, clock):
    kept = a_minute(tmp_path, final_lr=0.0)
    step, _ = walk(kept, clock, 0, 40, 0.25)
    first = kept.steps
    step, _ = walk(kept, clock, step, 10**6, 0.5)
    assert step == kept.steps < first and len(kept.stages) > 1
    assert 50 < clock.now + 4 <= 61
    assert learning_rate(kept.settings(step - 1), step - 1) == 0.0
    assert not kept.is_spent or clock.now >= 60 - 6


def test_a_plan_that_comes_true_is_left_alone(tmp_path, clock):
    kept = a_minute(tmp_path)
    walk(kept, clock, 0, 10**6, 0.25)
    assert len(kept.stages) == 1 and 57 < clock.now + 4 < 60


def test_a_plan_is_kept_and_other_minutes_plan_anew(tmp_path, clock):
    kept = a_minute(tmp_path)
    last, _ = walk(kept, clock, 0, 10**6, 0.25)
    again = a_minute(tmp_path, step=20)
    assert again.stages == kept.stages and walk(again, clock, 20, 10**6, 9.0)[0] == last and again.stages == kept.stages
    assert a_minute(tmp_path, step=last).is_last(last)

    longer = a_minute(tmp_path, step=last, minutes=2.0)
    assert longer.steps is None and longer.settings(last).steps == last
    walk(longer, clock, last, 10**6, 0.25)
    assert longer.steps > 2.5 * last and longer.stages[0] == kept.stages[0] and longer.stages[1].minutes == 2.0
    assert a_minute(tmp_path, step=last, minutes=2.0).settings(last) == longer.settings(last)  # the old stage holds until the new one


def test_no_plan_and_a_damaged_one(tmp_path, clock):
    assert a_minute(tmp_path, minutes=None).steps == 5 and not (tmp_path / "plan.yaml").exists()
    for text, message in [
        ("stages: [{from_step: 1}]", "plan.yaml: stages.0.: missing key 'minutes'; remove the file to plan anew"),
        ("stages: [", "plan.yaml.* remove the file"),
        ("stages: 3", "plan.yaml.*expected a list"),
    ]:  # fmt: skip
        (tmp_path / "plan.yaml").write_text(text)
        with pytest.raises(ValueError, match=message) as caught:
            a_minute(tmp_path)
        assert "\n" not in str(caught.value)
    costs = Costs(step=1.0)
    stage = Stage(1, 1.0, costs, steps=0, warmup_steps=0, decay_steps=None, log_every=1, save_every=1, valid_every=1, sample_every=0)
    config.write_yaml(tmp_path / "plan.yaml", {"stages": [config.to_dict(stage)]})
    with pytest.raises(ValueError, match="plan.yaml: steps: expected at least 1, came 0"):
        a_minute(tmp_path)


# A run of the loop


def test_a_run_plans_stops_goes_on_and_equals_one_that_never_stopped(tmp_path, run_tiny, ticking, capsys):
    finished = []
    settings = ("minutes=0.2", "steps=9")
    cut = run_tiny.main(tmp_path / "cut", *settings, faults={60: "SIGTERM"}, finish=lambda: finished.append(True))
    assert cut["reason"] == "signal" and cut["step"] == 61 and finished == [True]
    assert "plan: " in capsys.readouterr().err
    stages = read_plan(tmp_path / "cut", TrainConfig(steps=9))
    assert stages[0].from_step in (2, 4, 8, 16, 32) and stages[-1].steps > 61

    again = run_tiny.main(tmp_path / "cut", *settings, finish=lambda: pytest.fail("it was timed already"))
    assert (again["step"], again["reason"]) == (stages[-1].steps, "done")
    assert read_plan(tmp_path / "cut", TrainConfig(steps=9)) == stages

    (tmp_path / "whole").mkdir()
    shutil.copy(tmp_path / "cut/plan.yaml", tmp_path / "whole/plan.yaml")
    whole = run_tiny.main(tmp_path / "whole", *settings)
    assert whole["weights"] == again["weights"] and equal(state_of(tmp_path / "whole"), state_of(tmp_path / "cut"))


def test_a_budget_that_is_spent_before_the_plan_saves_what_there_is(tmp_path, run_tiny, ticking):
    outcome = run_tiny.main(tmp_path, "minutes=0.001")
    assert (outcome["step"], outcome["reason"]) == (1, "time limit") and (tmp_path / "state/step-0000001").is_dir()
