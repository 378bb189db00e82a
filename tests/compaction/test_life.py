"""Sleeping, waking, undo, checkpoints and copies while tensors are small."""

import copy
import io

import pytest
import torch
from torch import nn

from sleepengine import SleepEngine
from sleepengine.choosing import by, to
from sleepengine.rules.rule import Rule, Who


def adamw(params):
    return torch.optim.AdamW(params, 0.01, weight_decay=0.1)


def sgd(params):
    return torch.optim.SGD(params, 0.05, momentum=0.9)


@pytest.fixture
def pair(cases, start, batches):
    """A masked and a compacted run of the residual network, both two steps old."""
    case = cases["residual"]
    masked, small = start(case, adamw), start(case, adamw)
    for run in (masked, small):
        for batch in batches(case, 2, 4):
            run.step(batch)
    small.compact(batches(case, 1)[0])
    return case, masked, small


def both(pair, act):
    _, masked, small = pair
    return act(masked), act(small)


def same(picture, masked, small):
    mine = picture(small)
    for name, value in picture(masked).items():
        torch.testing.assert_close(mine[name], value, rtol=1e-8, atol=1e-10, msg=name)


def test_round_trip_is_bit_exact(pair, picture, batches):
    case, masked, _ = pair
    pointers = {n: p.data_ptr() for n, p in masked.model.named_parameters()}
    grads = {n: p.grad.clone() for n, p in masked.model.named_parameters()}
    before = picture(masked)
    masked.compact(batches(case, 1)[0])
    assert masked.model.c1.weight.shape == (2, 2, 3, 3)
    assert masked.model.c1.weight.grad.shape == (2, 2, 3, 3)
    assert (masked.model.c1.out_channels, masked.model.b2.num_features) == (2, 2)
    masked.engine.expand()
    for name, value in picture(masked).items():
        assert torch.equal(value, before[name]), name
    for name, p in masked.model.named_parameters():
        assert torch.equal(p.grad, grads[name])
        assert p.data_ptr() == pointers[name]
    assert (masked.model.c1.out_channels, masked.model.b2.num_features) == (4, 4)
    assert not any(m._state_dict_hooks for m in masked.model.modules())


def test_what_slept_wakes_as_it_was(cases, start, batches):
    case = cases["residual"]
    run = start(case, adamw, sleep=False)
    run.step(batches(case, 1)[0])
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    run.engine.sleep_nodes("c1", [1, 3])
    run.compact(batches(case, 1)[0])
    for batch in batches(case, 4):
        run.step(batch)
    assert run.engine.wake_nodes("c1") == 2
    assert not run.engine.compacted
    for name in ("c1.weight", "b1.running_var", "b2.bias"):
        value = run.model.state_dict()[name]
        assert torch.equal(value[[1, 3]], before[name][[1, 3]]), name
        assert not torch.equal(value[0], before[name][0])


def test_transactions_while_small(pair, picture, batches):
    case, masked, small = pair
    for act in (
        lambda run: run.engine.wake_nodes("c1", 1),
        lambda run: run.engine.sleep_weights("fc", (0, 2)),
        lambda run: run.engine.freeze_weights("c1", (0, 0, 1, 1)),
        lambda run: run.engine.sleep_nodes("c1", 0),
        lambda run: run.engine.reset_nodes("c1", 2),
        lambda run: run.engine.freeze_nodes("c1", 2),
    ):
        assert len(set(both(pair, act))) == 1
        for batch in batches(case, 3):
            both(pair, lambda run, batch=batch: run.step(batch))
        same(picture, masked, small)
        assert small.engine.compacted
        small.engine.check()


def test_weights_asleep_and_frozen_hold_in_the_awake_part(cases, start, batches):
    case = cases["linear"]
    run = start(case, adamw)
    run.engine.sleep_weights("0", [(0, 1), (2, 3)])
    run.engine.freeze_weights("2", [(1, 0), (4, 5)])
    kept = run.model[2].weight.detach().clone()
    run.compact(batches(case, 1)[0])
    for batch in batches(case, 5):
        run.step(batch)
    assert run.model[0].weight.shape == (4, 4)
    assert run.model[0].weight[0, 1] == 0  # node 2 is row 1 now
    assert run.model[0].weight[1, 3] == 0
    run.engine.check()
    run.engine.expand()
    assert run.model[0].weight[0, 1] == 0
    assert run.model[0].weight[2, 3] == 0
    for at in ((1, 0), (4, 5)):
        assert run.model[2].weight[at] == kept[at]


def test_frozen_nodes_keep_their_statistics(pair, batches):
    case, _, small = pair
    small.engine.freeze_nodes("c1", 0)
    before = small.model.state_dict()
    for batch in batches(case, 4):
        small.step(batch)
    after = small.model.state_dict()
    for name in ("b1.running_mean", "b2.running_var", "c1.weight", "b1.weight"):
        assert torch.equal(after[name][0], before[name][0]), name
        assert not torch.equal(after[name][2], before[name][2]), name


def test_undo_is_bit_exact(pair, picture):
    _, _, small = pair
    before = picture(small)
    small.engine.wake_nodes("c1", 3)
    assert small.engine.compacted.groups == {"c1": (3, 4)}
    assert small.engine.undo()
    assert small.engine.compacted.groups == {"c1": (2, 4)}
    for name, value in picture(small).items():
        assert torch.equal(value, before[name]), name


def test_a_loss_that_the_loop_keeps(pair, batches):
    case, _, small = pair
    batch = batches(case, 1)[0]
    loss = small.model(batch).square().mean()
    loss.backward()
    small.engine.expand()
    loss = small.model(batch).square().mean()
    small.optimizer.zero_grad()
    loss.backward()
    small.optimizer.step()
    small.engine.compact()
    again = small.model(batch).square().mean()  # the old graph is still alive
    small.optimizer.zero_grad()
    again.backward()
    assert small.model.c1.weight.grad.shape == (2, 2, 3, 3)
    assert loss.grad_fn is not None


def test_in_the_middle_of_accumulation(pair, picture, batches):
    case, masked, small = pair
    one, two = batches(case, 2)
    for run in (masked, small):
        run.optimizer.zero_grad()
        run.model(one).square().mean().backward()
    small.engine.expand()
    for run in (masked, small):
        run.model(two).square().mean().backward()
    small.engine.compact()
    for run in (masked, small):
        run.optimizer.step()
    same(picture, masked, small)


def test_saved_while_small_and_loaded_into_a_full_model(pair, picture, batches, start):
    case, masked, small = pair
    for batch in batches(case, 3):
        both(pair, lambda run, batch=batch: run.step(batch))
    kept = copy.deepcopy(
        (small.model.state_dict(), small.optimizer.state_dict(), small.engine.state_dict())
    )
    assert small.engine.compacted
    assert kept[0]["c1.weight"].shape == (4, 2, 3, 3)
    assert kept[1]["state"][0]["exp_avg"].shape == (4, 2, 3, 3)
    other = start(case, adamw, sleep=False)
    other.model.load_state_dict(kept[0])
    other.optimizer.load_state_dict(kept[1])
    other.engine.load_state_dict(kept[2])
    for batch in batches(case, 3, 9):
        for run in (masked, small, other):
            run.step(batch)
    same(picture, masked, other)
    same(picture, masked, small)
    small.engine.wake_nodes("c1")
    other.engine.wake_nodes("c1")
    same(picture, other, small)


def test_a_full_checkpoint_is_loaded_while_small(pair, picture, batches):
    case, masked, small = pair
    kept = copy.deepcopy(
        (masked.model.state_dict(), masked.optimizer.state_dict(), masked.engine.state_dict())
    )
    for batch in batches(case, 3):
        small.step(batch)
    assert small.engine.compacted
    small.model.load_state_dict(kept[0])
    small.optimizer.load_state_dict(kept[1])
    small.engine.load_state_dict(kept[2])
    for batch in batches(case, 3, 8):
        both(pair, lambda run, batch=batch: run.step(batch))
    assert small.engine.compacted
    same(picture, masked, small)


def test_a_submodule_saves_and_loads_full_tensors(pair):
    _, _, small = pair
    state = small.model.b1.state_dict()
    assert state["weight"].shape == state["running_mean"].shape == (4,)
    small.model.b1.load_state_dict(state)
    assert small.model.b1.weight.shape == (4,)


def test_copies_are_small_plain_models(pair, batches):
    case, _, small = pair
    batch = batches(case, 1)[0]
    buffer = io.BytesIO()
    twin = copy.deepcopy(small.model)
    torch.save(nn.Sequential(*small.model.children()), buffer)
    assert twin.state_dict()["c1.weight"].shape == (2, 2, 3, 3)
    twin.load_state_dict(twin.state_dict())
    assert torch.equal(twin.eval()(batch), small.model.eval()(batch))
    assert small.engine.compacted
    buffer.seek(0)
    assert torch.load(buffer, weights_only=False).state_dict()["0.weight"].shape == (2, 2, 3, 3)


def test_detach_leaves_the_full_model(pair):
    _, _, small = pair
    small.engine.detach()
    assert small.model.c1.weight.shape == (4, 2, 3, 3)
    assert not small.model.c1.weight[[1, 3]].any()
    assert not small.model._load_state_dict_pre_hooks
    assert not small.optimizer._optimizer_state_dict_pre_hooks
    assert small.optimizer.state[small.model.c1.weight]["exp_avg"].shape == (4, 2, 3, 3)


def test_rules_that_read_gradients_see_the_full_model(cases, start, batches, picture):
    """Dense gradients of sleepers come from a full backward pass; in between steps are small."""
    from saliency import Gradient, Magnitude
    from schedules import every
    from sleepengine.actions.sleep import Sleep
    from sleepengine.actions.wake import Wake
    from sleepengine.choosing import Global
    from sleepengine.nodes import Nodes

    def rules():
        when = every("4it")
        return [
            Rule(when, Who(Magnitude(), Nodes(), Global(), by(0.25)), Sleep()),
            Rule(when, Who(Gradient(), Nodes(), Global(), to(0.4)), Wake()),
        ]

    case = cases["linear"]
    masked, small = start(case, sgd, rules=rules()), start(case, sgd, rules=rules())
    small.compact(batches(case, 1)[0])
    shapes = []
    for batch in batches(case, 10):
        shapes.append(tuple(small.model[0].weight.shape))
        masked.step(batch)
        small.step(batch)
    same(picture, masked, small)
    assert shapes[:3] == [(4, 4)] * 3
    assert shapes[3] == shapes[7] == (6, 4)
    assert len(small.engine.journal) == len(masked.engine.journal) > 0


def test_kept_points_and_zeros(cases, start, batches):
    case = cases["linear"]
    run = start(case, sgd, keep=("2it",))
    run.compact(batches(case, 1)[0])
    for batch in batches(case, 3):
        run.step(batch)
    assert run.engine.live.kept["2it"].weights["0.weight"].shape == (6, 4)
    before = run.engine.store.asleep_count()
    assert run.engine.adopt_zeros() == 0
    assert run.engine.store.asleep_count() == before


def test_two_optimizers(cases, batches, picture, start):
    case = cases["linear"]

    def split(params):
        first, *rest = params
        split.other = torch.optim.Adam(rest, 0.01)
        return torch.optim.SGD([first], 0.05, momentum=0.9)

    torch.manual_seed(1)
    runs = []
    for _ in range(2):
        model = case.make().double()
        model.load_state_dict(runs[0][0].state_dict() if runs else model.state_dict())
        first, *rest = model.parameters()
        made = [torch.optim.SGD([first], 0.05, momentum=0.9), torch.optim.Adam(rest, 0.01)]
        engine = SleepEngine(model, made, nodes=case.groups(model)).attach()
        engine.sleep_nodes("0", [1, 2])
        runs.append((model, made, engine))
    runs[1][2].compact(example_inputs=batches(case, 1)[0])
    for batch in batches(case, 6):
        for model, made, _ in runs:
            for one in made:
                one.zero_grad()
            model(batch).square().mean().backward()
            for one in made:
                one.step()
    assert runs[1][0][0].weight.shape == (4, 4)
    for name, value in runs[0][0].state_dict().items():
        torch.testing.assert_close(runs[1][0].state_dict()[name], value, msg=name)


def test_sparse_gradients(cases, start, batches):
    class Bag(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb, self.out = nn.Embedding(7, 5, sparse=True), nn.Linear(5, 2)

        def forward(self, x):
            return self.out(self.emb(x))

    from sleepengine.nodes import NodeGroup, Slice

    runs = []
    for _ in range(2):
        torch.manual_seed(1)
        model = Bag().double()
        made = [
            torch.optim.SparseAdam(model.emb.parameters(), 0.01),
            torch.optim.SGD(model.out.parameters(), 0.1),
        ]
        group = NodeGroup("emb", 5, [Slice("emb.weight", 1)], [Slice("out.weight", 1)])
        engine = SleepEngine(model, made, nodes=[group]).attach()
        engine.sleep_nodes("emb", [0, 4])
        runs.append((model, made, engine))
    for k, batch in enumerate(batches(cases["embedding"], 6)):
        if k == 2:
            runs[1][2].compact(example_inputs=batch)
            assert runs[1][0].emb.weight.grad.shape == (7, 3)
        for model, made, _ in runs:
            for one in made:
                one.zero_grad()
            model(batch).square().mean().backward()
            for one in made:
                one.step()
    runs[1][2].expand()
    for name, value in runs[0][0].state_dict().items():
        torch.testing.assert_close(runs[1][0].state_dict()[name], value, msg=name)
