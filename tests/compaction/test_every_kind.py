"""Every kind of layer: found, contributing nothing, waking as it was, exported, or refused."""

import pytest
import torch
from torch import nn

from sleepengine import SetupError, SleepEngine, find_groups, smaller_model
from sleepengine.masks.choice import Choice, Layer
from sleepengine.nodes import NodeGroup, Side, Slice
from sleepengine.nodes.hand_written import attention_heads

ADAM = lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1)  # noqa: E731


def sleepers(run, case, side=Side.ALL):
    """Parameter name -> mask of the entries of the nodes that sleep in this case."""
    nodes = {}
    for name, asleep in case.sleep.items():
        nodes[name] = torch.zeros(run.engine.live.nodes.groups[name].size, dtype=torch.bool)
        nodes[name][asleep] = True
    chosen = Choice(nodes, Layer.NODES)
    return run.engine.live.nodes.entries(chosen, side).masks, run.engine.live.nodes.statistics(
        chosen
    )


def entries(group, shapes, node):
    alone = torch.zeros(group.size, dtype=torch.bool)
    alone[node] = True
    return {name: mask.tolist() for name, mask in group.spread(alone, shapes).items()}


def test_the_graph_shows_what_was_written_by_hand(case, batches):
    """Node by node the same entries, but where the graph cannot know."""
    torch.manual_seed(1)
    model = case.make().double()
    shapes = {name: p.shape for name, p in model.named_parameters()}
    found = find_groups(model, batches(case, 1)[0])
    if "emb" in case.sleep:  # tied
        assert "it shares its weight with 'out'" in found.left_out["emb"]
        assert "write it by hand" in found.left_out["out"]
        return
    for group in case.groups(model):
        same = [
            one
            for one in found
            if one.size == group.size
            and all(
                entries(one, shapes, node) == entries(group, shapes, node)
                for node in range(group.size)
            )
        ]
        assert len(same) == 1, (group.name, dict(found.left_out))
        assert {one.param for one in same[0].statistics} == {o.param for o in group.statistics}


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_sleeping_nodes_contribute_exactly_nothing(case, training, start, batches):
    """Whatever makes them may change: no bit of the output does."""
    run = start(case, ADAM)
    batch = batches(case, 1)[0]
    every, _ = sleepers(run, case)
    readers, _ = sleepers(run, case, Side.OUTGOING)
    state = run.model.state_dict()
    kept = {name: value.clone() for name, value in state.items()}
    run.model.train(training)
    with torch.no_grad():
        before = run.model(batch)
        run.model.load_state_dict(kept)
        for name, mask in every.items():
            own = mask & ~readers.get(name, torch.zeros_like(mask))
            run.engine.live.params[name].add_(torch.randn(mask.shape).double() * own)
            assert not run.engine.live.params[name][mask & ~own].any()
        assert torch.equal(run.model(batch), before)


def test_they_wake_as_they_fell_asleep(case, start, batches):
    """After training, bit for bit, running statistics included; no state grew meanwhile."""
    run = start(case, ADAM, sleep=False)
    for batch in batches(case, 2, 4):
        run.step(batch)
    weights = {name: p.detach().clone() for name, p in run.engine.live.params.items()}
    buffers = {name: b.clone() for name, b in run.model.named_buffers()}
    for name, nodes in case.sleep.items():
        run.engine.sleep_nodes(name, nodes)
    masks, statistics = sleepers(run, case)
    for batch in batches(case, 3):
        run.step(batch)
    for name, mask in masks.items():
        assert not run.engine.live.params[name][mask].any()
        assert not torch.equal(run.engine.live.params[name], weights[name])
    for name, nodes in case.sleep.items():
        run.engine.wake_nodes(name, nodes)
    for name, mask in masks.items():
        assert torch.equal(run.engine.live.params[name][mask], weights[name][mask]), name
    held = dict(run.model.named_buffers())
    for name, mask in statistics.items():
        assert torch.equal(held[name][mask], buffers[name][mask]), name


def test_the_smaller_model_is_the_masked_one(case, start, batches):
    run = start(case, ADAM)
    for batch in batches(case, 2):
        run.step(batch)
    batch = batches(case, 1)[0]
    exported = smaller_model(run.engine, batch)
    assert not exported.report.left
    assert exported.report.difference <= 1e-12
    assert exported.report.parameters[1] < exported.report.parameters[0]
    run.model.eval()
    torch.testing.assert_close(exported.model(batch), run.model(batch), rtol=1e-9, atol=1e-11)


class Alone(nn.Module):
    def __init__(self):
        super().__init__()
        self.mha, self.out = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 2)

    def forward(self, x):
        return self.out(self.mha(x, x, x, need_weights=False)[0])


def averaged(norm, reader, width):
    group = NodeGroup(
        "0",
        4,
        [Slice("0.weight")],
        [Slice("2.weight", 1)],
        ["0.bias", "1.weight", "1.bias"],
        read_by=(width,) if width else (),
    )
    return [group], {"0": [1, 2]}


REFUSED = {
    "layer norm": (
        lambda: nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2)),
        (5, 3),
        lambda model: averaged("LayerNorm", "2", ""),
        "LayerNorm averages over them",
    ),
    "group norm": (
        lambda: nn.Sequential(nn.Conv1d(3, 4, 1), nn.GroupNorm(2, 4), nn.Conv1d(4, 2, 1)),
        (5, 3, 2),
        lambda model: averaged("GroupNorm", "2", ""),
        "GroupNorm averages over them",
    ),
    "heads of MultiheadAttention": (
        Alone,
        (2, 3, 4),
        lambda model: ([attention_heads(model, "mha")], {"mha": [1]}),
        "takes the width of its heads from the width of its input",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_cut_sleeps_all_the_same(kind):
    make, shape, groups, reason = REFUSED[kind]
    torch.manual_seed(0)
    model, x = make().double(), torch.randn(shape, dtype=torch.float64)
    made, sleep = groups(model)
    optimizer = ADAM(model.parameters())
    engine = SleepEngine(model, optimizer, nodes=made).attach()
    name, asleep = next(iter(sleep.items()))
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    engine.sleep_nodes(name, asleep)
    masks = {n: ~engine.store.awake(n) for n in engine.store.entries()}
    for training in (True, False):
        model.train(training)
        with torch.no_grad():
            given = model(x)
        # The readers' weights are zero: what makes the nodes does not matter.
        reader = made[0].consumes[0].param
        with torch.no_grad():
            for n, mask in masks.items():
                if n != reader and "norm" not in kind:
                    dict(model.named_parameters())[n].add_(torch.randn(mask.shape).double() * mask)
            assert torch.equal(model(x), given)
            for n, mask in masks.items():
                dict(model.named_parameters())[n].masked_fill_(mask, 0)
    for _ in range(3):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    with pytest.raises(SetupError, match=reason):
        engine.compact(example_inputs=x)
    with pytest.raises(SetupError, match=reason):
        smaller_model(engine, x)
    engine.wake_nodes(name, asleep)
    for n, p in model.named_parameters():
        if n in masks:
            assert torch.equal(p[masks[n]], before[n][masks[n]])


def test_nodes_under_an_average_are_found_and_named():
    for make, shape, _, _ in (REFUSED["layer norm"], REFUSED["group norm"]):
        found = find_groups(make(), torch.randn(shape))
        (group,) = found
        assert group.read_by == ("1",)


def test_an_embedding_is_found():
    """Node j: column j of the table, and what reads it."""
    (group,) = find_groups(
        nn.Sequential(nn.Embedding(7, 5), nn.Linear(5, 3)), torch.zeros(2).long()
    )
    assert list(group.produces) == [Slice("0.weight", 1)]
    assert list(group.consumes) == [Slice("1.weight", 1)]
