"""Mask training: gradients against finite differences, samples, penalty, seeds, resume."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from sleepengine.learned.deterministic import StraightThrough, TopK
from sleepengine.learned.logits import MaskLogits
from sleepengine.learned.noise import uniform
from sleepengine.learned.stochastic import GumbelSigmoid, HardConcrete
from sleepengine.learned.trainer import create_mask_trainer

LOSS = nn.functional.cross_entropy
SOFT = [GumbelSigmoid(0.8, 0.3, hard=False), HardConcrete(init=0.3), StraightThrough(hard=False)]


def one_step(model, logits, batch, **options) -> dict[str, Tensor]:
    """The gradient that one step hands to the optimizer: SGD at lr 1, so what it subtracts."""
    before = {key: value.detach().clone() for key, value in logits.named_parameters().items()}
    sgd = torch.optim.SGD(logits.parameters(), lr=1.0)
    create_mask_trainer(model, LOSS, logits, sgd, clip=None, **options).run([batch])
    now = logits.named_parameters()
    return {key: before[key] - now[key].detach() for key in before}


def slow_loss(model, relaxation, values, batch, samples, alpha) -> float:
    """The relaxed loss of the first step, written out: a loop over samples, full weights."""
    x, y = batch
    total = 0.0
    for j, (xs, ys) in enumerate(zip(x.chunk(samples), y.chunk(samples), strict=True)):
        weights = {}
        for name, value in values.items():
            u = uniform(0, 1, name, value.shape, sample=j, dtype=torch.float64)
            gates = relaxation.gates(value, u if relaxation.draws else None)
            weights[name] = dict(model.named_parameters())[name] * gates
        total += LOSS(functional_call(model, weights, (xs,)), ys, reduction="sum").item() / len(x)
    return total + alpha / len(x) * sum(relaxation.penalty(v).item() for v in values.values())


@pytest.mark.parametrize("relaxation", SOFT, ids=repr)
def test_gradients_agree_with_finite_differences_of_the_relaxed_loss(relaxation, frozen_net, batch):
    model, alpha, step = frozen_net(), 0.5, 1e-6
    samples = 4 if relaxation.draws else 1
    logits = MaskLogits(model, relaxation)
    start = {key: v.detach().clone() for key, v in logits.named_parameters().items()}
    found = one_step(model, logits, batch, alpha=alpha)
    assert set(found) == {"0.weight", "2.weight"}
    for key, grad in found.items():
        assert bool(grad.all())  # every logit gets one
        for i in range(grad.numel()):
            ends = []
            for sign in (1, -1):
                moved = {name: value.clone() for name, value in start.items()}
                moved[key].view(-1)[i] += sign * step
                ends.append(slow_loss(model, relaxation, moved, batch, samples, alpha))
            slope = (ends[0] - ends[1]) / (2 * step)
            assert grad.view(-1)[i].item() == pytest.approx(slope, abs=1e-7), (key, i)


def test_hard_gradient_is_the_slope_of_the_mask_times_the_slope_of_the_sigmoid(frozen_net, batch):
    model = frozen_net()
    logits = MaskLogits(model, GumbelSigmoid(init=0.3))
    gates = {name: g.detach() for name, g in logits.draw(1).items()}
    found = one_step(model, logits, batch, samples=1, alpha=0.0)["0.weight"]
    weights = dict(model.named_parameters())

    def loss_at(first: Tensor) -> float:
        masked = {"0.weight": weights["0.weight"] * first}
        masked["2.weight"] = weights["2.weight"] * gates["2.weight"]
        return LOSS(functional_call(model, masked, (batch[0],)), batch[1]).item()

    u = uniform(0, 1, "0.weight", (5, 4), dtype=torch.float64)
    s = (0.3 + u.log() - (1 - u).log()).sigmoid()
    for i in range(5):
        for j in range(4):
            up, down = gates["0.weight"].clone(), gates["0.weight"].clone()
            up[i, j] += 1e-6
            down[i, j] -= 1e-6
            slope = (loss_at(up) - loss_at(down)) / 2e-6 * s[i, j] * (1 - s[i, j])
            assert found[i, j].item() == pytest.approx(slope.item(), abs=1e-8)


def test_penalty_gives_exactly_the_published_gradient(frozen_net):
    model = frozen_net(nn.Linear(4, 3, bias=False))
    logits = MaskLogits(model)
    sgd = torch.optim.SGD(logits.parameters(), lr=1.0)
    trainer = create_mask_trainer(model, lambda out, y: (out * 0).sum(), logits, sgd)
    trainer.run([(torch.randn(128, 4).double(), torch.zeros(128))])
    moved = 2.0 - logits.parameters()[0].detach()
    assert moved.unique().tolist() == [pytest.approx(7.8125e-7, rel=1e-9)]


def test_clipping_bounds_the_norm_over_all_logits(frozen_net, batch):
    model, norms = frozen_net(), []
    for clip in (None, 1e-3):
        logits = MaskLogits(model)
        sgd = torch.optim.SGD(logits.parameters(), lr=1.0)
        create_mask_trainer(model, LOSS, logits, sgd, clip=clip).run([batch])
        norms.append(torch.cat([(2 - p.detach()).flatten() for p in logits.parameters()]).norm())
    assert norms[0] > 0.01
    assert norms[1].item() == pytest.approx(1e-3, rel=1e-3)


def test_each_part_of_the_batch_has_a_mask_of_its_own(frozen_net):
    model = frozen_net(nn.Linear(4, 1, bias=False))
    logits = MaskLogits(model, GumbelSigmoid(init=0.0))
    seen: list[Tensor] = []

    def loss_fn(out: Tensor, _: Tensor) -> Tensor:
        seen.append(out.detach())
        return out.mean()

    same = torch.eye(4, dtype=torch.float64)
    create_mask_trainer(model, loss_fn, logits, samples=3).run([(same.repeat(3, 1), same[:1])])
    for j, out in enumerate(seen):
        gates = MaskLogits(model, GumbelSigmoid(init=0.0)).draw(1, j)["0.weight"]
        assert torch.equal(out[:, 0], (model[0].weight * gates)[0])
    assert len({tuple(out.flatten().tolist()) for out in seen}) > 1


def test_one_vmap_call_gives_what_the_loop_gives(frozen_net, batch):
    model = frozen_net(nn.Linear(4, 5), nn.LayerNorm(5), nn.GELU(), nn.Linear(5, 3))
    found = [one_step(model, MaskLogits(model), batch, vectorize=v) for v in (False, True)]
    for key in found[0]:
        torch.testing.assert_close(found[0][key], found[1][key], atol=1e-14, rtol=1e-10)


@pytest.mark.parametrize("size", [1, 3, 6])
def test_uneven_and_small_batches(size, frozen_net, batch):
    model = frozen_net()
    x, y = batch[0][:size], batch[1][:size]
    for vectorize in (False, True):
        logits = MaskLogits(model)
        trainer = create_mask_trainer(model, LOSS, logits, vectorize=vectorize)
        pieces = zip(x.tensor_split(min(size, 4)), y.tensor_split(min(size, 4)), strict=True)
        slow = 0.0
        for j, (xs, ys) in enumerate(pieces):
            weights = {
                n: dict(model.named_parameters())[n] * g for n, g in logits.draw(1, j).items()
            }
            slow += LOSS(functional_call(model, weights, (xs,)), ys, reduction="sum").item() / size
        assert trainer.run([(x, y)]).output == pytest.approx(slow)


def trained(model, batch, steps: int, seed: int = 0, **options) -> MaskLogits:
    logits = MaskLogits(model, GumbelSigmoid(init=0.5), seed=seed)
    create_mask_trainer(model, LOSS, logits, **options).run([batch] * steps)
    return logits


def test_seeds_reproduce_and_differ(frozen_net, batch):
    model = frozen_net()
    torch.manual_seed(1)
    first = trained(model, batch, 12).state_dict()["logits"]
    torch.manual_seed(2)  # the global state plays no part
    again = trained(model, batch, 12).state_dict()["logits"]
    other = trained(model, batch, 12, seed=1).state_dict()["logits"]
    for key in first:
        assert torch.equal(first[key], again[key])
        assert not torch.equal(first[key], other[key])


def test_a_resumed_run_is_the_same_to_the_bit(frozen_net, batch):
    model = frozen_net()
    batches = [batch] * 7
    whole = trained(model, batch, 14)

    logits = MaskLogits(model, GumbelSigmoid(init=0.5), seed=9)
    logits.seed = 0
    adam = torch.optim.Adam(logits.parameters(), lr=1e-2)
    trainer = create_mask_trainer(model, LOSS, logits, adam)
    trainer.run(batches, max_epochs=1)
    saved = (logits.state_dict(), adam.state_dict(), trainer.state_dict())

    later = MaskLogits(model, GumbelSigmoid(init=0.5), seed=3)
    later.load_state_dict(saved[0])
    adam = torch.optim.Adam(later.parameters(), lr=1e-2)
    adam.load_state_dict(saved[1])
    trainer = create_mask_trainer(model, LOSS, later, adam)
    trainer.load_state_dict(saved[2])
    trainer.run(batches, max_epochs=2)
    assert trainer.state.iteration == 14
    for key, value in whole.named_parameters().items():
        assert torch.equal(value, later.named_parameters()[key])


@pytest.mark.parametrize(
    ("relaxation", "lr", "alpha"),
    [
        (GumbelSigmoid(), 0.1, 0.02),
        (GumbelSigmoid(hard=False), 0.1, 0.2),
        (HardConcrete(), 0.1, 0.05),
        (HardConcrete(hard=True), 0.1, 0.05),
        (StraightThrough(), 1e-3, 0.0),
        (TopK(0.75), 0.05, 0.0),
    ],
    ids=repr,
)
def test_a_planted_mask_is_found(relaxation, lr, alpha, frozen_net):
    """One output of eight weights; the answers come from the two weights that are awake."""
    model = frozen_net(nn.Linear(8, 1, bias=False))
    planted = torch.tensor([[True, False, False, True, False, False, False, False]])
    drawn = torch.Generator().manual_seed(0)
    x = torch.randn(256, 8, generator=drawn, dtype=torch.float64)
    y = x @ (model[0].weight * planted).T
    logits = MaskLogits(model, relaxation)
    adam = torch.optim.Adam(logits.parameters(), lr=lr)
    trainer = create_mask_trainer(model, nn.functional.mse_loss, logits, adam, alpha=alpha)
    trainer.run([(x, y)], max_epochs=200)
    assert logits.masks()["0.weight"].tolist() == planted.tolist()
    assert trainer.state.metrics["asleep"] == logits.fraction() == 0.75


def test_every_logit_moves_under_adam(frozen_net, batch):
    model = frozen_net()
    for relaxation in (GumbelSigmoid(), HardConcrete(), StraightThrough(), TopK()):
        logits = MaskLogits(model, relaxation)
        start = [p.detach().clone() for p in logits.parameters()]
        create_mask_trainer(model, LOSS, logits).run([batch] * 12)
        for before, after in zip(start, logits.parameters(), strict=True):
            assert bool((before != after).all()), relaxation
