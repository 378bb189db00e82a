"""Movement pruning as two rules, held against scores that are trained straight through the mask."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from ignite.engine import Engine
from torch import Tensor, nn

from saliency import Movement, Signals, SoftMovement
from schedules import cubic
from sleepengine import recipes
from sleepengine.actions.wake import Wake
from sleepengine.choosing import Global
from sleepengine.engine.sleep_engine import SleepEngine

STEPS, START, END, SPARSITY, LR = 40, 5, 25, 0.7, 0.3
NAMES = ("first.weight", "last.weight")


def network() -> nn.Sequential:
    torch.manual_seed(3)
    layers = OrderedDict(first=nn.Linear(6, 8), act=nn.Tanh(), last=nn.Linear(8, 3))
    return nn.Sequential(layers).double()


def batch(step: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(16, 6, generator=generator, dtype=torch.float64)
    return x, torch.randint(3, (16,), generator=generator)


class Plain:
    """The published method: a forward pass through masks, gradients to weights and to scores."""

    def __init__(self) -> None:
        self.model = network()
        self.scores = {n: torch.zeros_like(self.weight(n)).requires_grad_() for n in NAMES}
        self.awake = {n: torch.ones_like(self.weight(n)) for n in NAMES}

    def weight(self, name: str) -> nn.Parameter:
        return self.model.get_parameter(name)

    def step(self, step: int) -> None:
        x, y = batch(step)
        straight = {n: self.awake[n] + s - s.detach() for n, s in self.scores.items()}
        masked = {n: self.weight(n) * straight[n] for n in NAMES}
        for one in (*self.model.parameters(), *self.scores.values()):
            one.grad = None
        output = torch.func.functional_call(self.model, masked, (x,))
        nn.functional.cross_entropy(output, y).backward()
        with torch.no_grad():
            for p in self.model.parameters():
                p -= LR * p.grad
            for s in self.scores.values():
                s -= s.grad

    def renew(self, asleep: float) -> None:
        """The top of every tensor's scores, for the next forward pass."""
        for name, score in self.scores.items():
            k = int(asleep * score.numel() + 0.5)
            order = score.detach().flatten().argsort(stable=True)
            self.awake[name] = torch.ones_like(score).flatten()
            self.awake[name][order[:k]] = 0.0
            self.awake[name] = self.awake[name].view_as(score)


def rules(**changes):
    times = {"start": f"{START}it", "end": f"{END}it"}
    return recipes.movement(SPARSITY, **(times | changes))


def test_masks_and_weights_are_those_of_the_published_method():
    plain, model = Plain(), network()
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    came_back, ever = 0, {name: torch.zeros_like(model.get_parameter(name)) for name in NAMES}
    with SleepEngine(model, optimizer, rules()).attach(total_steps=STEPS) as engine:
        for step in range(1, STEPS + 1):
            x, y = batch(step)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
            plain.step(step)
            if step >= START:
                curve = cubic(0.0, SPARSITY)
                plain.renew(curve(min(1.0, (step - START) / (END - START))))
            for name in NAMES:
                awake, expected = ~engine.is_sleeping(name), plain.awake[name].bool()
                assert torch.equal(awake, expected), (step, name)
                weight = plain.weight(name) * expected
                assert torch.allclose(model.get_parameter(name), weight, rtol=0, atol=1e-12)
                came_back += int((ever[name].bool() & awake).sum())
                ever[name] += (~awake).double()
        for name in NAMES:  # a sleeper keeps the value that it has behind the published mask
            parked = torch.zeros_like(model.get_parameter(name))
            engine.live.parked[name].fill_into(parked, engine.store.asleep_bits(name))
            expected = plain.weight(name) * (1 - plain.awake[name])
            assert torch.allclose(parked, expected.detach(), rtol=0, atol=1e-12)
    assert came_back > 20  # revival happens
    assert engine.fraction() == pytest.approx(SPARSITY, abs=0.01)


def test_without_revival_a_sleeper_stays_behind():
    signals = Signals(
        weights={"w": torch.tensor([0.0, 2.0])},
        parked={"w": torch.tensor([3.0, 0.0])},
        grads={"w": torch.tensor([-1.0, -1.0])},
        awake={"w": torch.tensor([False, True])},
    )
    for make, expected in ((Movement, [0.0, 2.0]), (lambda r: Movement(revive=r), [3.0, 2.0])):
        scorer = make(True) if make is not Movement else make()
        scorer.observe(signals)
        assert scorer.score(signals)["w"].tolist() == expected
    soft = SoftMovement(penalty=0, revive=True)
    soft.observe(signals)
    assert soft.score(signals)["w"].tolist() == [3.0, 2.0]


def test_scores_are_of_the_weights_that_the_gradients_are_of():
    """A step of w <- w - lr g must not reach the w in w g."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 2.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    rule = rules()[1]
    with SleepEngine(model, optimizer, [rule]).attach(total_steps=STEPS):
        (model.weight * 3.0).sum().backward()
        optimizer.step()
    assert model.weight.item() == 0.5
    assert rule.who.scorer.state_dict()["sum"]["weight"].tolist() == [[-6.0]]


def test_no_forward_pass_is_dense_while_gradients_accumulate():
    """Both rules wait for the step: waking alone would leave the network dense in between."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=0.9)
    seen: list[float] = []

    def update(trainer: Engine, number: int) -> None:
        x, y = batch(number)
        seen.append(engine.fraction())
        (nn.functional.cross_entropy(model(x), y) / 2).backward()
        if number % 2 == 0:
            optimizer.step()
            optimizer.zero_grad()

    trainer = Engine(update)
    engine = SleepEngine(model, optimizer, rules(pools=Global(), start="4it", end="8it"))
    with engine.attach(trainer):
        trainer.run(range(1, STEPS + 1), max_epochs=1)
    assert seen[:4] == [0.0] * 4
    assert min(seen[10:]) == max(seen[10:]) == pytest.approx(SPARSITY, abs=0.01)


def test_soft_movement_sleeps_what_is_below_the_threshold():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    soft = recipes.soft_movement(0.0, penalty=0.001, start="5it")
    assert isinstance(soft[0].what, Wake)
    with SleepEngine(model, optimizer, soft).attach(total_steps=STEPS) as engine:
        for step in range(STEPS):
            x, y = batch(step)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        scores = soft[1].who.scorer.state_dict()["scores"]
        for name in NAMES:
            assert torch.equal(engine.is_sleeping(name), scores[name] <= 0.0)
        assert 0.1 < engine.fraction() < 0.95


def test_the_switch_is_a_bool():
    with pytest.raises(TypeError, match=r"Movement\(revive='yes'\): revive must be True or False"):
        Movement("yes")
    with pytest.raises(TypeError, match=r"SoftMovement\(revive=1\)"):
        SoftMovement(revive=1)
