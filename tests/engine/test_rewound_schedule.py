"""A point "4it" is the state in which step 5 begins, whoever moves the schedule before it."""

from __future__ import annotations

import pytest
import torch
from torch import optim

from schedules import once
from sleepengine import Rewind, RewindError, Rule, SleepEngine

from .halved_rates import REWIND, Run, epochs


def test_a_call_between_two_epochs_brings_back_the_rate_of_the_step_after_the_point():
    run = Run()
    with run.engine.attach():
        run.plain(16, before=(8, lambda: run.engine.fire(REWIND)))
    assert epochs(run) == [1, 0.5, 0.5, 0.25]
    assert run.scheduler.last_epoch == 4 + 8


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("4it", [1, 0.5, 0.25, 0.125]),  # at its own moment there is nothing to go back to
        ("8it", [1, 0.5, 0.5, 0.25]),
        ("12it", [1, 0.5, 0.25, 0.5]),
    ],
)
def test_a_rule_brings_it_back_though_the_loop_moves_the_schedule_after_it(when, expected):
    run = Run(Rule(once(when), None, Rewind("4it")))
    with run.engine.attach():
        run.plain(16)
    assert epochs(run) == expected


def test_weights_are_those_right_after_the_step_and_the_run_repeats():
    run = Run()
    with run.engine.attach():
        run.plain(4)
        with torch.no_grad():
            after = run.model.weight.clone()
            run.model.weight.add_(1.0)  # an average, swapped in for an evaluation
        assert torch.equal(run.engine.live.kept["4it"].weight("weight"), after)
        with torch.no_grad():
            run.model.weight.copy_(after)
        run.plain(4, first=4)
        first = run.model.weight.detach().clone()
        run.engine.fire(REWIND)
        assert torch.equal(run.model.weight, after)
        run.plain(4, first=4)
    assert torch.equal(run.model.weight, first)


def test_the_start_counts_a_scheduler_that_is_built_after_attach():
    run = Run(keep=["init"])
    with run.engine.attach():
        warmup = optim.lr_scheduler.ConstantLR(run.optimizer, 0.1, total_iters=100)
        run.plain(4)
        run.engine.fire(Rule(once("99it"), None, Rewind("init")))
        assert run.optimizer.param_groups[0]["lr"] == run.rates[0]
    assert run.rates[0] == pytest.approx(0.01)
    assert warmup.last_epoch == 0


def test_detach_and_restart_end_the_waiting():
    run = Run(Rule(once("8it"), None, Rewind("4it")))
    with run.engine.attach():
        run.plain(8)
        assert run.optimizer.param_groups[0]["lr"] == 0.05  # the fifth step's, moved on
        assert run.scheduler.last_epoch == 5
    assert run.scheduler.last_epoch == 4
    again = Run()
    with again.engine.attach():
        again.plain(4)
        again.engine.restart()
        again.scheduler.step()
        again.engine.fire(REWIND)
    assert again.scheduler.last_epoch == 4


def test_undo_takes_back_what_waits():
    run = Run(Rule(once("8it"), None, Rewind("4it")))
    with run.engine.attach():
        run.plain(7)
        run.step(7)
        assert run.scheduler.last_epoch == 4
        assert run.engine.undo()
        run.scheduler.step()
        run.plain(4, first=8)
    assert epochs(run) == [1, 0.5, 0.25]


@pytest.mark.parametrize("stop", [3, 4, 7, 8, 9])
@pytest.mark.parametrize("inside", [False, True], ids=["after", "before scheduler.step()"])
def test_resume_in_between_is_bit_exact(stop, inside, through_file, words):
    rules = [Rule(once("8it"), None, Rewind("4it"))]
    whole, part = Run(*rules), Run(*rules)
    with whole.engine.attach():
        whole.plain(12)
    with part.engine.attach():
        part.plain(stop - 1)
        part.step(stop - 1)
        if not inside:
            part.scheduler.step()
        things = (part.model, part.optimizer, part.scheduler, part.engine)
        saved = through_file([one.state_dict() for one in things])
    again = Run(*rules)
    for one, state in zip(
        (again.model, again.optimizer, again.scheduler, again.engine), saved, strict=True
    ):
        one.load_state_dict(state)
    with again.engine.attach():
        if inside:
            again.scheduler.step()
        again.plain(12 - stop, first=stop)
    assert again.rates == whole.rates[stop:]
    assert torch.equal(words(again.model.weight), words(whole.model.weight))
    assert again.engine.live.kept["4it"].schedulers == whole.engine.live.kept["4it"].schedulers


class Stubborn(optim.lr_scheduler.ExponentialLR):
    """A scheduler that does not come back."""

    def load_state_dict(self, state):
        pass


@pytest.mark.parametrize("by_rule", [False, True])
def test_a_schedule_that_does_not_come_back_is_named(by_rule):
    rules = [Rule(once("6it"), None, Rewind("4it"))] if by_rule else []
    run = Run()
    run.scheduler = Stubborn(run.optimizer, 0.5)
    run.engine = SleepEngine(
        run.model, run.optimizer, rules, scheduler=run.scheduler, keep=["4it"]
    ).attach()
    with pytest.raises(RewindError, match=r"last_epoch of Stubborn \(5, kept 4\)"):
        run.plain(6, before=(5, lambda: run.engine.fire(*[REWIND][by_rule:])))


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_a_loop_that_moves_the_schedule_between_backward_and_step():
    run = Run(Rule(once("6it"), None, Rewind("4it")))
    run.engine.attach()
    for i in range(8):
        run.backward(i)
        run.scheduler.step()
        run.rates.append(run.scheduler.last_epoch)
        run.optimizer.step()
    assert run.rates == [1, 2, 3, 4, 5, 6, 5, 6]  # steps 7 and 8 are steps 5 and 6 again


def test_gradients_that_no_backward_made():
    run = Run()
    with run.engine.attach():
        for _ in range(8):
            run.model.weight.grad = torch.ones(2, 3)
            run.rates.append(run.optimizer.param_groups[0]["lr"])
            run.optimizer.step()
            run.scheduler.step()
        run.engine.fire(REWIND)
        assert run.optimizer.param_groups[0]["lr"] == run.rates[4]


def test_hooks_are_there_only_while_something_waits():
    run = Run()
    with run.engine.attach():
        for i in range(8):
            hooked = bool(run.model.weight._post_accumulate_grad_hooks)
            assert hooked == (i == 4)
            run.step(i)
    assert not run.model.weight._post_accumulate_grad_hooks
