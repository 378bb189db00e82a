"""Logits per weight, row, block and output; warm starts; the result as an ordinary mask."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import sleepengine as se
from saliency import OBD, OBS, Fisher
from sleepengine.errors import SetupError, StateError
from sleepengine.learned.logits import MaskLogits
from sleepengine.learned.relaxation import Relaxation
from sleepengine.learned.warm_start import WarmStart, frozen_signals

LOSS = nn.functional.cross_entropy


def set_logits(logits: MaskLogits, **values: list) -> None:
    with torch.no_grad():
        for key, value in values.items():
            logits.named_parameters()[key].copy_(torch.tensor(value))


@pytest.mark.parametrize(
    ("units", "sizes"),
    [
        (se.Weights(), {"0.weight": 20, "2.weight": 15}),
        (se.Rows(), {"0.weight": 5, "2.weight": 3}),
        (se.Columns(), {"0.weight": 4, "2.weight": 5}),
        (se.Blocks((1, 1)), {"0.weight": 20, "2.weight": 15}),
        (se.Outputs(), {"0": 5, "2": 3}),
    ],
    ids=repr,
)
def test_units_train_together(units, sizes, frozen_net, batch):
    model = frozen_net()
    logits = MaskLogits(model, units=units)
    assert {key: p.numel() for key, p in logits.named_parameters().items()} == sizes
    se.create_mask_trainer(model, LOSS, logits).run([batch] * 12)
    masks = logits.masks()
    assert {name: mask.shape for name, mask in masks.items()} == logits.shapes
    assert all(units.any_of(masks)[k].equal(units.all_of(masks)[k]) for k in sizes)


def test_outputs_take_their_bias_along(frozen_net):
    model = frozen_net()
    logits = MaskLogits(model, params="0*", units=se.Outputs())
    set_logits(logits, **{"0": [1.0, -1.0, 1.0, 1.0, -1.0]})
    masks = logits.masks()
    assert masks["0.bias"].tolist() == [True, False, True, True, False]
    assert torch.equal(masks["0.weight"], masks["0.bias"][:, None].expand(5, 4))
    hidden = se.masked_call(
        model[0], {n[2:]: m for n, m in masks.items()}, torch.ones(1, 4).double()
    )
    assert (hidden == 0).tolist() == [[False, True, False, False, True]]


def test_outputs_that_do_not_fit():
    with pytest.raises(SetupError, match=r"'fc.bias' has 3 rows, .* has 2"):
        se.Outputs().pool({"fc.weight": torch.zeros(2, 2), "fc.bias": torch.zeros(3)})
    with pytest.raises(SetupError, match="a single number"):
        se.Outputs().pool({"scale": torch.tensor(1.0)})


def test_warm_start_keeps_the_order_of_any_scorer(frozen_net, batch):
    model = frozen_net()
    signals = frozen_signals(model, LOSS, [batch])
    for start in (
        WarmStart(se.Magnitude()),
        WarmStart(se.Taylor(), signals=signals),
        WarmStart(se.Random()),
    ):
        logits = MaskLogits(model, warm_start=start)
        scores = start.scores({n: p for n, p in model.named_parameters() if n in logits.shapes})
        for name, score in scores.items():
            got = logits.named_parameters()[name].detach()
            assert torch.equal(got.flatten().argsort(), score.flatten().argsort(stable=True))
    wide = MaskLogits(model, warm_start=WarmStart(se.Magnitude(), span=2.0))
    weight = model[0].weight.abs().flatten()
    asleep = ~wide.masks()["0.weight"].flatten()
    assert asleep.sum() == 5  # the lowest quarter of 20
    assert weight[asleep].max() < weight[~asleep].min()


@pytest.mark.parametrize(
    "scorer",
    [se.Taylor(), se.Wanda(), se.MeanActivation(), OBD(), OBS(), Fisher(), se.GraSP()],
    ids=lambda one: type(one).__name__,
)
def test_warm_start_from_a_scorer_that_measures(frozen_net, batch, bits, scorer):
    model = frozen_net()
    before = bits(model)
    loss = torch.nn.functional.cross_entropy
    signals = frozen_signals(model, loss, [batch, batch], batches=2, scorer=scorer)
    logits = MaskLogits(model, warm_start=WarmStart(scorer, signals=signals))
    first = logits.named_parameters()["0.weight"].detach().flatten()
    scores = scorer.score(signals)["0.weight"].expand(5, 4).flatten()
    order = scores.argsort(stable=True)
    assert torch.equal(first[order], first.sort().values)
    assert len(first.unique()) == 20
    assert bits(model) == before
    assert not any(p.requires_grad for p in model.parameters())


def test_warm_start_of_rows_goes_by_their_mean(frozen_net):
    model = frozen_net()
    logits = MaskLogits(model, units=se.Rows(), warm_start=WarmStart(se.Magnitude()))
    means = model[0].weight.abs().mean(1)
    assert torch.equal(logits.parameters()[0].argsort(), means.argsort())


def test_gradients_of_frozen_signals_are_those_of_the_trainable_model(frozen_net, batch, bits):
    model = frozen_net()
    before = bits(model)
    signals = frozen_signals(model, LOSS, [batch, (batch[0] * 2, batch[1])], batches=2)
    assert bits(model) == before
    assert not any(p.requires_grad for p in model.parameters())
    model.requires_grad_(True)
    loss = (LOSS(model(batch[0]), batch[1]) + LOSS(model(batch[0] * 2), batch[1])) / 2
    loss.backward()
    torch.testing.assert_close(signals.grads["0.weight"], model[0].weight.grad)
    assert torch.equal(signals.weights["2.weight"], model[2].weight)


def test_warm_start_errors(frozen_net, batch):
    model = frozen_net()
    with pytest.raises(se.MissingSignal, match="Taylor in rule 'warm start'"):
        MaskLogits(model, warm_start=WarmStart(se.Taylor()))
    with pytest.raises(SetupError, match="give a scorer"):
        WarmStart("magnitude")
    with pytest.raises(SetupError, match="span must be above 0"):
        WarmStart(se.Magnitude(), span=0)
    with pytest.raises(SetupError, match="data gave 1 batches, batches=2"):
        frozen_signals(model, LOSS, [batch], batches=2)
    model[0].weight[0, 0] = torch.nan
    with pytest.raises(SetupError, match=r"or NaN, for '0\.weight'"):
        MaskLogits(model, warm_start=WarmStart(se.Magnitude()))


def test_the_result_is_a_mask_like_any_other(frozen_net, batch, bits):
    model = frozen_net()
    logits = MaskLogits(model, params="0")
    set_logits(logits, **{"0.weight": [[1.0, -1.0, 1.0, -1.0]] * 5})
    before, wanted = bits(model), se.masked_call(model, logits.masks(), batch[0])
    assert logits.fraction() == logits.snapshot().fraction() == 0.5
    engine = se.SleepEngine(model)
    for masks in (logits.store(), logits.masks(), logits.snapshot()):
        changes = engine.set_masks(masks)
        assert changes.slept.count() == 10
        assert engine.is_sleeping("0", (0, 1))
        assert torch.equal(model(batch[0]), wanted)
        assert torch.equal(
            logits.store().asleep_bits("0.weight"), engine.store.asleep_bits("0.weight")
        )
        engine.wake_weights("0")
        assert bits(model) == before


def test_state_comes_back_and_is_checked(frozen_net, batch, tmp_path):
    model = frozen_net()
    logits = MaskLogits(model, seed=4)
    se.create_mask_trainer(model, LOSS, logits).run([batch] * 3)
    state = logits.state_dict()
    torch.save(state, tmp_path / "logits.pt")
    other = MaskLogits(model)
    other.load_state_dict(torch.load(tmp_path / "logits.pt", weights_only=True))
    assert torch.equal(other.draw(5)["0.weight"], logits.draw(5)["0.weight"])
    fresh = MaskLogits(model, params="0")
    wrong_shape = {**state, "logits": {**state["logits"], "0.weight": torch.zeros(2)}}
    for target, bad, message in [
        (other, {}, "not a state of mask logits"),
        (other, {**state, "seed": "4"}, "has seed '4'"),
        (other, wrong_shape, "'0.weight' differ in shape or type"),
        (fresh, state, r"logits of \['0.weight', '2.weight'\] were saved"),
    ]:
        with pytest.raises(StateError, match=message):
            target.load_state_dict(bad)
    assert torch.equal(other.draw(5)["0.weight"], logits.draw(5)["0.weight"])


def test_half_precision_weights_have_float32_logits():
    model = nn.Linear(4, 2).to(torch.bfloat16).requires_grad_(False).eval()
    logits = MaskLogits(model)
    assert logits.parameters()[0].dtype == torch.float32
    x, y = torch.randn(8, 4, dtype=torch.bfloat16), torch.zeros(8, dtype=torch.int64)
    se.create_mask_trainer(model, LOSS, logits).run([(x, y)] * 3)
    assert bool((logits.parameters()[0] != 2).all())


class Scalar(Relaxation):
    """One number for a whole tensor: noise or gates that are shared by all weights."""

    centre, first = 0.0, 1.0

    def gates(self, logits: Tensor, uniform: Tensor | None) -> Tensor:
        return logits.mean()

    def awake(self, logits: Tensor) -> Tensor:
        return logits > 0

    def expected(self, logits: Tensor) -> Tensor:
        return logits


class Cut(Scalar):
    def gates(self, logits: Tensor, uniform: Tensor | None) -> Tensor:
        return (logits > 0).to(logits.dtype)


def test_relaxations_and_units_that_break_the_contract(frozen_net):
    model = frozen_net()
    with pytest.raises(SetupError, match=r"gates of shape \(\) for '0.weight'"):
        MaskLogits(model, Scalar())
    with pytest.raises(SetupError, match="connected to the logits: False"):
        MaskLogits(model, Cut())
    with pytest.raises(SetupError, match="relaxation='gumbel' is not a relaxation"):
        MaskLogits(model, "gumbel")
    with pytest.raises(SetupError, match="units='rows' is not a Units"):
        MaskLogits(model, units="rows")
