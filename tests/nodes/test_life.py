"""What happens to nodes over time: training, waking, undo, saving."""

import copy
import dataclasses

import pytest
import torch

from sleepengine import SetupError, SleepEngine, StateError
from sleepengine.masks.choice import Choice, Kind, Layer

SHAPE = (6, 3, 2, 2)


def snapshot(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def own(group, node, model, statistics=True):
    """Every entry and statistic of one node: (name, mask)."""
    nodes = torch.arange(group.size) == node
    slices = group.slices() + (group.statistics if statistics else ())
    state = model.state_dict()
    return [(one.param, one.mask(nodes, state[one.param].shape)) for one in slices]


def test_asleep_through_training_and_back_bit_for_bit(residual, residual_group, train):
    optimizer = torch.optim.AdamW(residual.parameters(), 0.01, weight_decay=0.1)
    engine = SleepEngine(residual, optimizer, nodes=[residual_group]).attach()
    train(residual, optimizer, SHAPE, 3)
    before = snapshot(residual)
    assert engine.sleep_nodes("c1", [1, 3]) == 2
    train(residual, optimizer, SHAPE)
    for name, mask in own(residual_group, 1, residual, statistics=False):
        values = residual.state_dict()[name][mask]
        assert torch.equal(values.view(torch.int64), torch.zeros_like(values, dtype=torch.int64)), (
            name
        )
    engine.check()
    assert engine.wake_nodes("c1", [1, 3]) == 2
    for node in (1, 3):
        for name, mask in own(residual_group, node, residual):
            # what another sleeping node owned too is back as well, since all of them woke
            assert torch.equal(residual.state_dict()[name][mask], before[name][mask]), name
    assert not torch.equal(residual.b1.running_var, before["b1.running_var"])  # the others learned
    engine.detach()


def test_statistics_do_not_drift_while_asleep(residual, residual_group, train):
    optimizer = torch.optim.SGD(residual.parameters(), 0.01)
    engine = SleepEngine(residual, optimizer, nodes=[residual_group]).attach()
    before = snapshot(residual)
    engine.sleep_nodes("c1", 0)
    train(residual, optimizer, SHAPE)
    assert residual.b1.running_var[0] == before["b1.running_var"][0]
    residual(torch.randn(SHAPE, dtype=torch.float64))  # no step follows
    engine.wake_nodes("c1", 0)
    assert residual.b1.running_var[0] == before["b1.running_var"][0]


def test_frozen_nodes_keep_everything(residual, residual_group, train):
    optimizer = torch.optim.Adam(residual.parameters(), 0.01, weight_decay=0.1)
    engine = SleepEngine(residual, optimizer, nodes=[residual_group]).attach()
    before = snapshot(residual)
    assert engine.freeze_nodes("c1", 2) == 1
    train(residual, optimizer, SHAPE)
    for name, mask in own(residual_group, 2, residual):
        assert torch.equal(residual.state_dict()[name][mask], before[name][mask]), name
    assert engine.thaw_nodes("c1", 2) == 1
    train(residual, optimizer, SHAPE, 1)
    assert residual.b1.running_mean[2] != before["b1.running_mean"][2]


def test_a_pathway_freezes_at_once(mlp, mlp_groups):
    engine = SleepEngine(mlp, nodes=mlp_groups)
    assert engine.freeze_pathway({"0": [1, 2], "2": 0}) == 3
    assert engine.freeze_pathway({"0": 2, "2": [0, 4]}) == 1
    assert engine.get_sleep_state("0").nodes.frozen.nonzero().flatten().tolist() == [1, 2]
    assert engine.get_sleep_state("2").nodes.frozen.nonzero().flatten().tolist() == [0, 4]
    assert len(engine.journal) == 2
    with pytest.raises(SetupError, match=r"nodes of '2'.*9"):
        engine.freeze_pathway({"0": 5, "2": 9})
    assert not engine.get_sleep_state("0").nodes.frozen[5]
    with pytest.raises(SetupError, match="name a layer"):
        engine.freeze_pathway({})


def test_an_entry_wakes_when_all_its_owners_are_awake(mlp, mlp_groups):
    engine = SleepEngine(mlp, nodes=mlp_groups)
    before = snapshot(mlp)
    engine.sleep_nodes("0", 1)
    engine.sleep_nodes("2", 3)
    assert mlp[2].weight[3, 1] == 0
    engine.wake_nodes("0", 1)
    assert engine.is_sleeping_node("0", 1).item() is False
    assert mlp[2].weight[3, 1] == 0  # node 3 of the layer above owns it too
    assert torch.equal(mlp[2].weight[:3, 1], before["2.weight"][:3, 1])
    engine.wake_nodes("2", 3)
    for name, value in mlp.state_dict().items():
        assert torch.equal(value, before[name])


def test_weights_and_nodes_sleep_apart(mlp, mlp_groups):
    engine = SleepEngine(mlp, nodes=mlp_groups)
    before = snapshot(mlp)
    engine.sleep_weights("0", (1, 2))
    engine.sleep_nodes("0", 1)
    engine.wake_weights("0")
    assert not mlp[0].weight[1].any()
    engine.wake_nodes("0", 1)
    assert torch.equal(mlp[0].weight, before["0.weight"])
    engine.sleep_weights("0", (1, 2))
    engine.sleep_nodes("0", 1)
    engine.wake_nodes("0", 1)
    assert mlp[0].weight[1, 2] == 0
    assert mlp[0].weight[1].count_nonzero() == 3


def test_undo_is_bit_exact(residual, residual_group, train):
    optimizer = torch.optim.AdamW(residual.parameters(), 0.01)
    engine = SleepEngine(residual, optimizer, nodes=[residual_group]).attach()
    train(residual, optimizer, SHAPE, 2)
    before, state = snapshot(residual), copy.deepcopy(optimizer.state_dict())
    engine.sleep_nodes("c1", [0, 2])
    assert engine.undo()
    assert not engine.is_sleeping_node("c1").any()
    assert not engine.live.nodes.held()
    for name, value in residual.state_dict().items():
        assert torch.equal(value, before[name]), name
    torch.testing.assert_close(optimizer.state_dict()["state"], state["state"], rtol=0, atol=0)


def test_undo_after_a_step_wakes_the_nodes(mlp, mlp_groups, train):
    optimizer = torch.optim.SGD(mlp.parameters(), 0.1)
    engine = SleepEngine(mlp, optimizer, nodes=mlp_groups).attach()
    engine.sleep_nodes("0", [0])
    engine.sleep_nodes("0", [2])
    train(mlp, optimizer, (3, 4), 1)
    assert not engine.undo()
    assert engine.is_sleeping_node("0").tolist() == [True, False, False, False, False, False]


def test_save_and_load(residual, residual_group, train):
    def run(model, engine, optimizer, first):
        torch.manual_seed(first)
        train(model, optimizer, SHAPE, 4)

    optimizer = torch.optim.AdamW(residual.parameters(), 0.01)
    engine = SleepEngine(residual, optimizer, nodes=[residual_group]).attach()
    engine.sleep_nodes("c1", 1)
    engine.freeze_nodes("c1", 3)
    run(residual, engine, optimizer, 1)
    twin = copy.deepcopy(residual)
    kept = copy.deepcopy((residual.state_dict(), optimizer.state_dict(), engine.state_dict()))
    run(residual, engine, optimizer, 2)

    again = torch.optim.AdamW(twin.parameters(), 0.01)
    other = SleepEngine(twin, again, nodes=[residual_group]).attach()
    twin.load_state_dict(kept[0])
    again.load_state_dict(kept[1])
    other.load_state_dict(kept[2])
    run(twin, other, again, 2)
    for one, another in ((engine, residual), (other, twin)):
        one.wake_nodes("c1")
        assert not one.is_sleeping_node("c1").any()
        assert another is one.model
    for name, value in residual.state_dict().items():
        assert torch.equal(value, twin.state_dict()[name]), name


def test_a_state_whose_bits_disagree_is_refused(mlp, mlp_groups):
    engine = SleepEngine(mlp, nodes=mlp_groups)
    engine.sleep_nodes("0", 1)
    state = copy.deepcopy(engine.state_dict())
    state["nodes"] = SleepEngine(copy.deepcopy(mlp), nodes=mlp_groups).state_dict()["nodes"]
    with pytest.raises(StateError, match="are not those of the asleep nodes"):
        engine.load_state_dict(state)
    assert engine.is_sleeping_node("0", 1)


def test_masks_set_from_outside_bring_their_nodes(mlp, mlp_groups):
    engine = SleepEngine(mlp, nodes=mlp_groups)
    engine.sleep_nodes("0", [1, 2])
    masks = engine.store.fork()
    engine.wake_nodes("0")
    engine.set_masks(masks)
    assert engine.live.nodes.nodes(Kind.ASLEEP)["0"].nonzero().flatten().tolist() == [1, 2]
    nodes = engine.live.nodes.nodes(Kind.ASLEEP)
    for name in engine.store.entries():
        bits = engine.store.layer_bits(name, Layer.NODES, Kind.ASLEEP)
        assert torch.equal(bits, engine.live.nodes.entries(nodes).bits(name))


@pytest.mark.parametrize(
    ("value", "outgoing", "zero"),
    [("zero", "parked", ["0.weight", "0.bias"]), ("parked", "zero", ["2.weight"])],
)
def test_wake_policy_of_each_side(mlp, mlp_groups, value, outgoing, zero):
    engine = SleepEngine(mlp, nodes=mlp_groups)
    before = snapshot(mlp)
    engine.sleep_nodes("0", 1)
    engine.wake_nodes("0", 1, value=value, outgoing=outgoing)
    for one in mlp_groups[0].slices():
        mask = one.mask(torch.arange(6) == 1, before[one.param].shape)
        now = mlp.state_dict()[one.param][mask]
        expected = torch.zeros_like(now) if one.param in zero else before[one.param][mask]
        assert torch.equal(now, expected), one.param


def test_zero_on_both_sides_is_refused(mlp, mlp_groups):
    engine = SleepEngine(mlp, nodes=mlp_groups)
    engine.sleep_nodes("0", 1)
    with pytest.raises(SetupError, match="never learns"):
        engine.wake_nodes("0", 1, value="zero", outgoing="zero")
    with pytest.raises(SetupError, match="never learns"):
        engine.reset_nodes("0", 2, value="zero", outgoing="zero")


def test_reset_starts_a_node_again(residual, residual_group, train):
    optimizer = torch.optim.Adam(residual.parameters(), 0.01)
    engine = SleepEngine(residual, optimizer, nodes=[residual_group]).attach()
    train(residual, optimizer, SHAPE, 3)
    before = snapshot(residual)
    assert engine.reset_nodes("c1", 1) == 1
    assert not residual.fc.weight[:, 4:8].any()
    assert not residual.c2.weight[:, 1].any()
    assert not torch.equal(residual.c1.weight[1], before["c1.weight"][1])
    assert residual.c1.weight[1].any()
    assert residual.b1.running_mean[1] == 0
    assert residual.b1.running_var[1] == 1
    moments = optimizer.state[residual.c1.weight]["exp_avg_sq"]
    assert not moments[1].any()
    assert moments[0].any()
    others = [0, 2, 3]
    assert torch.equal(residual.c1.weight[others], before["c1.weight"][others])
    assert torch.equal(residual.b1.running_var[others], before["b1.running_var"][others])


def test_state_and_view(mlp, mlp_groups):
    engine = SleepEngine(mlp, nodes=mlp_groups)
    view = engine["0"]
    assert view.sleep_nodes([0, 2]) == 2
    assert view.sleep_nodes([0]) == 0
    state = engine.get_sleep_state("0")
    assert (state.asleep, repr(state.nodes)) == (8, "NodeState(0: 2/6 asleep, 0 frozen)")
    assert view.is_sleeping_node().tolist() == [True, False, True, False, False, False]
    assert view.wake_nodes() == 2
    assert (view.freeze_nodes(1), view.thaw_nodes()) == (1, 1)
    engine.sleep_nodes("2", 0)
    engine.detach(wake=True)
    assert not engine.is_sleeping_node("2").any()


def test_wrong_calls(mlp, mlp_groups):
    engine = SleepEngine(mlp, nodes=mlp_groups)
    with pytest.raises(SetupError, match=r"nodes of '0'.*6"):
        engine.sleep_nodes("0", 6)
    with pytest.raises(SetupError, match="'4' is no node group"):
        engine.sleep_nodes("4", 0)
    with pytest.raises(SetupError, match="no node groups: give it example_inputs="):
        SleepEngine(mlp).sleep_nodes("0", 0)
    with pytest.raises(SetupError, match="two different node groups"):
        SleepEngine(mlp, nodes=[mlp_groups[0], dataclasses.replace(mlp_groups[0], size=5)])


def test_overlapping_choices_derive_from_node_bits(mlp, mlp_groups):
    nodes = SleepEngine(mlp, nodes=mlp_groups).live.nodes
    both = Choice(
        {"0": torch.ones(6, dtype=torch.bool), "2": torch.ones(5, dtype=torch.bool)}, Layer.NODES
    )
    assert nodes.entries(both).counts() == {
        "0.weight": 24,
        "2.weight": 30,
        "0.bias": 6,
        "4.weight": 15,
        "2.bias": 5,
    }
