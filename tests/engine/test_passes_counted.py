"""Which of the loop's forward passes count for a scorer, and which do not."""

from __future__ import annotations

import torch
from ignite.engine import Engine
from torch import nn

from saliency import (
    Fisher,
    InputMoment,
    SparseGPT,
    Wanda,
    gather,
)
from schedules import every, once
from sleepengine import (
    Rule,
    Sleep,
    SleepEngine,
    Who,
    to,
)

from .looking import engine_of, rule_of


def test_validation_and_own_batches_do_not_count(net, train, batch):
    model, scorer = net(), Wanda(accumulate=True)
    look = rule_of(scorer)
    own = Rule(every("1it"), Who(Fisher(), amount=to(0.0), batches=2), Sleep(), name="own")
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    data = [batch(i) for i in range(5, 8)]
    engine = SleepEngine(model, optimizer, [own, look], data=data, loss_fn=nn.MSELoss())
    with engine.attach():
        with torch.no_grad():
            model(100 * torch.ones(8, 5))
        engine.fire(own)
        train(model, optimizer, 1)
    params = {"0.weight": model[0].weight, "2.weight": model[2].weight}
    moment = gather(model, params, InputMoment(), [batch(0)])
    for name, mean in scorer.state_dict()["mean"].items():
        torch.testing.assert_close(mean, moment[name])


def test_the_run_is_the_same_to_the_bit(train, batch):
    """Dropout inside and after an attention, whose last projection is run once more."""

    class Attends(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2, dropout=0.5, batch_first=True)
            self.first, self.drop, self.last = nn.Linear(5, 4), nn.Dropout(0.5), nn.Linear(4, 3)

        def forward(self, x):
            x = self.first(x).unsqueeze(1)
            return self.last(self.drop(self.attention(x, x, x)[0].squeeze(1)))

    found = []
    for scorer in (None, Wanda(accumulate=True)):
        torch.manual_seed(0)
        model = Attends()
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        rules = [] if scorer is None else [rule_of(scorer, params="*weight")]
        with SleepEngine(model, optimizer, rules).attach():
            train(model, optimizer, 4)
        found.append([p.detach().clone() for p in model.parameters()])
    assert all(map(torch.equal, *found))
    steps = scorer.state_dict()["steps"]
    assert set(steps) == {
        "attention.in_proj_weight",
        "attention.out_proj.weight",
        "first.weight",
        "last.weight",
    }


def test_accumulated_batches_are_one_step(net, batch):
    """An Ignite trainer whose optimizer steps at every second iteration."""
    model, scorer = net(), Wanda(accumulate=True)
    optimizer = torch.optim.SGD(model.parameters(), 0.0)

    def update(trainer, data):
        nn.functional.mse_loss(model(data[0]), data[1]).backward()
        if trainer.state.iteration % 2 == 0:
            optimizer.step()
            optimizer.zero_grad()

    trainer = Engine(update)
    with SleepEngine(model, optimizer, [rule_of(scorer, once("4it"))]).attach(trainer):
        trainer.run([batch(i) for i in range(4)], max_epochs=1)
    twin = net()
    params = {"0.weight": twin[0].weight, "2.weight": twin[2].weight}
    whole = gather(twin, params, InputMoment(), [batch(i) for i in range(4)])
    assert scorer.state_dict()["steps"] == {"0.weight": 2, "2.weight": 2}
    for name, mean in scorer.state_dict()["mean"].items():
        torch.testing.assert_close(mean, whole[name])


def test_a_metric_between_forward_and_backward_loses_nothing(net, batch):
    model, scorer = net(), Wanda(accumulate=True)
    engine, optimizer = engine_of(model, rule_of(scorer), lr=0.0)
    with engine.attach():
        loss = nn.functional.mse_loss(model(batch()[0]), batch()[1])
        engine.metric("loss", loss.item())
        loss.backward()
        optimizer.step()
    assert scorer.state_dict()["steps"] == {"0.weight": 1, "2.weight": 1}


def test_low_precision_passes_are_summed_in_full(net, batch):
    model, scorer = net(), SparseGPT(accumulate=True)
    engine, optimizer = engine_of(model, rule_of(scorer), lr=0.0)
    with engine.attach():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(batch()[0]).float().square().sum()
        loss.backward()
        optimizer.step()
    x = batch()[0]
    gram = scorer.state_dict()["mean"]["0.weight"][0]
    torch.testing.assert_close(gram, (x.T @ x).double() / len(x))
