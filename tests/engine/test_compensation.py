"""Survivors make up for sleepers, in one transaction that is undone bit for bit."""

import pytest
import torch
from torch import nn

from saliency import OBS, CompensatingScorer, ExactOBS, Magnitude, SparseGPT, Wanda
from saliency.curvature.inverse_fisher import InverseFisher
from saliency.curvature.rows import GaussNewtonColumns
from schedules import once
from sleepengine import PerTensor, Rule, SetupError, Sleep, SleepEngine, Wake, Who, by, to


class Fixed(CompensatingScorer):
    """Scores are magnitudes; every weight is to gain the same, chosen or not."""

    def __init__(self, gain=0.5):
        self.gain = gain
        self.asked = []

    def score(self, signals):
        return {name: w.abs() for name, w in signals.weights.items()}

    def compensate(self, choice, signals):
        self.asked.append({name: mask.clone() for name, mask in choice.items()})
        return {name: torch.full_like(w, self.gain) for name, w in signals.weights.items()}


def rule_of(scorer, amount=None, what=None, **more):
    who = Who(scorer, pools=PerTensor(), amount=amount or to(0.5), **more)
    return Rule(once("0it"), who, what or Sleep(compensate=True))


def test_survivors_gain_and_sleepers_are_parked_as_they_were(row):
    layer, scorer = row(4.0, -1.0, 3.0, 2.0), Fixed()
    with SleepEngine(layer, None, [rule_of(scorer)]).attach() as engine:
        assert layer.weight.tolist() == [[4.5, 0.0, 3.5, 0.0]]
        assert scorer.asked[0]["weight"].tolist() == [[False, True, False, True]]
        engine.wake_weights("weight")
        assert layer.weight.tolist() == [[4.5, -1.0, 3.5, 2.0]]  # waking takes nothing back


def test_undo_is_bit_for_bit(net, batch, words):
    model = net()
    data = [batch(i) for i in range(3)]
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    rule = rule_of(ExactOBS(), batches=3)
    with SleepEngine(model, optimizer, [rule], data=data).attach() as engine:
        moved = [not torch.equal(before[n], p) for n, p in model.named_parameters()]
        assert moved == [True, False, True, False]
        assert engine.undo()
        assert all(torch.equal(words(before[n]), words(p)) for n, p in model.named_parameters())
        assert engine.fraction() == 0.0


def test_undo_of_an_update_in_a_tensor_whose_masks_did_not_change(words):
    """OBS moves survivors of all tensors, also of one in which nothing falls asleep."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        model[0].weight.fill_(0.1)
        model[1].weight.fill_(5.0)
    before = [p.detach().clone() for p in model.parameters()]
    rule = Rule(once("0it"), Who(Fixed(), amount=by(0.5), allow_empty=True), Sleep(compensate=True))
    with SleepEngine(model, None, [rule]).attach() as engine:
        assert torch.equal(model[0].weight, torch.zeros(2, 2))
        assert torch.equal(model[1].weight, before[1] + 0.5)
        assert engine.undo()
        for p, old in zip(model.parameters(), before, strict=True):
            assert torch.equal(words(p), words(old))


@pytest.mark.parametrize("scorer", [ExactOBS(), SparseGPT(fraction=0.5)], ids=repr)
def test_the_layer_s_output_changes_less(scorer):
    torch.manual_seed(0)
    x = torch.randn(64, 12) @ torch.randn(12, 12)
    errors = []
    for compensate in (False, True):
        torch.manual_seed(1)
        layer = nn.Linear(12, 8)
        with torch.no_grad():
            dense = layer(x)
        rule = rule_of(scorer, what=Sleep(compensate=compensate), batches=1)
        with SleepEngine(layer, None, [rule], data=[(x, None)]).attach(), torch.no_grad():
            errors.append(float((layer(x) - dense).square().mean()))
    assert errors[1] < 0.8 * errors[0]


def test_obs_of_the_loss_end_to_end():
    """A quadratic loss: OBS reaches the least loss that its mask allows."""
    torch.manual_seed(0)
    x, y = torch.randn(40, 5, dtype=torch.float64), torch.randn(40, 1, dtype=torch.float64)
    layer = nn.Linear(5, 1, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(torch.linalg.lstsq(x, y).solution.t())
    exact = OBS(InverseFisher(rows=GaussNewtonColumns(), damping=1e-10))
    rule = rule_of(exact, amount=by(0.4), batches=1)
    optimizer = torch.optim.SGD(layer.parameters(), 0.1)
    with SleepEngine(layer, optimizer, [rule], data=[(x, y)], loss_fn=nn.MSELoss()).attach():
        kept = (layer.weight != 0)[0]
        best = torch.linalg.lstsq(x[:, kept], y).solution[:, 0]
        assert int(kept.sum()) == 3
        torch.testing.assert_close(layer.weight[0, kept].detach(), best, rtol=1e-6, atol=1e-8)


def test_frozen_survivors_do_not_move(row, words):
    layer = row(4.0, -1.0, 3.0, 2.0)
    engine = SleepEngine(layer, torch.optim.SGD(layer.parameters(), 0.1), [rule_of(Fixed())])
    engine.freeze_weights("weight", (0, 0))
    with engine.attach():
        assert layer.weight.tolist() == [[4.0, 0.0, 3.5, 0.0]]
        engine.check()


def test_entries_that_gain_nothing_keep_their_bits(row, words):
    layer = row(4.0, -1.0, -0.0, 2.0)
    with SleepEngine(layer, None, [rule_of(Fixed(0.0), amount=to(0.25))]).attach():
        survivors = layer.weight[0, [0, 1, 3]]
        assert torch.equal(words(survivors), words(torch.tensor([4.0, -1.0, 2.0])))


def test_a_later_rule_of_the_transaction_sees_the_update(row):
    """After the first rule [4.5, 0, 3.5, 0]; the second puts the smaller of the two to sleep."""
    layer, second = row(4.0, -1.0, 3.0, 2.0), Fixed(1.0)
    rules = [rule_of(Fixed()), rule_of(second, amount=to(0.75))]
    with SleepEngine(layer, None, rules).attach() as engine:
        assert layer.weight.tolist() == [[5.5, 0.0, 0.0, 0.0]]
        assert second.asked[0]["weight"].tolist() == [[False, False, True, False]]
        engine.wake_weights("weight")
        assert layer.weight.tolist() == [[5.5, -1.0, 3.0, 2.0]]  # values of before the transaction


def test_what_is_woken_again_in_the_transaction_gains_nothing(row):
    layer = row(4.0, -1.0, 3.0, 2.0)
    wake = Rule(once("0it"), Who(Magnitude(), amount=to(0.0)), Wake())
    with SleepEngine(layer, None, [rule_of(Fixed()), wake]).attach():
        assert layer.weight.tolist() == [[4.5, -1.0, 3.5, 2.0]]


def test_training_goes_on_from_the_moved_weights(row, push):
    layer = row(4.0, -1.0, 3.0, 2.0)
    optimizer = torch.optim.SGD(layer.parameters(), 0.1)
    with SleepEngine(layer, optimizer, [rule_of(Fixed())], check_every=1).attach() as engine:
        push(layer, optimizer, 10.0, 10.0, 10.0, 10.0)
        assert layer.weight.tolist() == [[3.5, 0.0, 2.5, 0.0]]
        assert not engine.undo()  # masks only, as it says
        assert layer.weight.tolist() == [[3.5, -1.0, 2.5, 2.0]]


def test_the_journal_says_so(row):
    layer = row(4.0, -1.0, 3.0, 2.0)
    with SleepEngine(layer, None, [rule_of(Fixed())]).attach() as engine:
        assert "survivors" in engine.journal.last().note


@pytest.mark.parametrize("scorer", [Magnitude(), Wanda(), None], ids=repr)
def test_scorers_that_know_no_update_are_refused(scorer):
    with pytest.raises(SetupError, match="gives no update of the survivors; use ExactOBS"):
        rule_of(scorer)


def test_nodes_are_refused():
    with pytest.raises(SetupError, match="acts on weights"):
        Sleep(compensate=True).check_nodes()
    Sleep().check_nodes()
