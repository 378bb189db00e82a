"""What cannot be compacted is refused by name, and everything is as it was."""

import pytest
import torch
from torch import nn

from sleepengine import SetupError, SleepEngine
from sleepengine.nodes import NodeGroup, Slice
from sleepengine.nodes.hand_written import recurrent_units


def hidden(read_by=()):
    return NodeGroup("0", 6, [Slice("0.weight")], [Slice("2.weight", 1)], ["0.bias"], (), read_by)


def net(middle=None):
    return nn.Sequential(nn.Linear(4, 6), middle or nn.Tanh(), nn.Linear(6, 3)).double()


def engine_of(model, groups, sleep, optimizer=torch.optim.SGD, **more):
    made = optimizer(model.parameters(), lr=0.1)
    engine = SleepEngine(model, made, nodes=groups, **more).attach()
    for name, nodes in sleep.items():
        engine.sleep_nodes(name, nodes)
    return engine


def refused(engine, match, inputs=None, layers=None):
    """The call raises, and model, sizes and optimizer are untouched."""
    inputs = torch.randn(2, 4, dtype=torch.float64) if inputs is None else inputs
    state = {name: value.clone() for name, value in engine.model.state_dict().items()}
    sizes = [(m, dict(vars(m))) for m in engine.live.model.modules()]
    with pytest.raises(SetupError, match=match):
        engine.compact(layers, example_inputs=inputs)
    assert not engine.compacted
    for name, value in engine.model.state_dict().items():
        assert torch.equal(value, state[name])
    for name, p in engine.live.params.items():
        assert p.shape == engine.store.shape(name)
    for module, before in sizes:
        for key in ("in_features", "out_features", "training", "num_heads"):
            assert vars(module).get(key) == before.get(key)


@pytest.mark.filterwarnings("ignore:nodes of")
def test_readers_without_weights():
    engine = engine_of(net(), [hidden(["a softmax"])], {"0": [1]})
    refused(engine, "nodes of '0': they are read by a softmax without weights")


def test_normalisation_over_the_nodes():
    group = NodeGroup(
        "0", 6, [Slice("0.weight")], [Slice("2.weight", 1)], ["0.bias", "1.weight", "1.bias"]
    )
    engine = engine_of(net(nn.LayerNorm(6)), [group], {"0": [1]})
    refused(engine, "1: LayerNorm averages over them, sleeping ones included")


def test_an_average_without_weights_is_found_by_trial():
    engine = engine_of(net(nn.LayerNorm(6, elementwise_affine=False)), [hidden()], {"0": [1]})
    refused(engine, "the model computes something else without them: RuntimeError")


def test_softmax_over_the_nodes_is_found_by_trial():
    engine = engine_of(net(nn.Softmax(-1)), [hidden()], {"0": [1]})
    refused(engine, "something else without them: an output differs by")


class Baked(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.c(self.b(self.a(x).view(-1, 2, 3).flatten(1)).tanh())


def baked_groups():
    return [
        NodeGroup("a", 6, [Slice("a.weight")], [Slice("b.weight", 1)], ["a.bias"]),
        NodeGroup("b", 6, [Slice("b.weight")], [Slice("c.weight", 1)], ["b.bias"]),
    ]


def test_sizes_written_into_forward_leave_the_other_groups():
    engine = engine_of(Baked().double(), baked_groups(), {"a": [0], "b": [1, 2]})
    with pytest.warns(UserWarning, match="nodes of 'a': the model computes something else"):
        made = engine.compact(example_inputs=torch.randn(2, 4, dtype=torch.float64))
    assert made.groups == {"b": (4, 6)}
    assert "shape" in made.left["a"]
    assert engine.model.b.weight.shape == (4, 6)
    assert engine.model.a.weight[0].abs().sum() == 0
    engine.check()


def test_a_group_asked_for_by_name_must_work():
    engine = engine_of(Baked().double(), baked_groups(), {"a": [0], "b": [1, 2]})
    refused(engine, "nodes of 'a'", layers=["a", "b"])
    inputs = torch.randn(2, 4, dtype=torch.float64)
    assert engine.compact("b", example_inputs=inputs).groups == {"b": (4, 6)}
    with pytest.raises(SetupError, match="nodes of 'a'"):
        engine.compact("a")
    assert engine.compacted.groups == {"b": (4, 6)}  # as it was


def test_all_nodes_asleep():
    engine = engine_of(net(), [hidden()], {"0": [*range(6)]})
    refused(engine, "all of them sleep")


def test_nothing_asleep_is_no_error():
    engine = engine_of(net(), [hidden()], {})
    inputs = torch.randn(2, 4, dtype=torch.float64)
    assert not engine.compact(example_inputs=inputs)
    engine.sleep_nodes("0", [2, 3])
    assert engine.compacted.groups == {"0": (4, 6)}  # asked for once, small from then on


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (torch.optim.Adafactor, "Adafactor scales its step with the whole parameter"),
        (torch.optim.LBFGS, "LBFGS keeps one history"),
    ],
)
@pytest.mark.filterwarnings("ignore:Adafactor", "ignore:LBFGS")
def test_optimizers_without_state_of_each_entry(kind, told):
    refused(engine_of(net(), [hidden()], {"0": [1]}, kind), told)


@pytest.mark.filterwarnings("ignore:Muon")
def test_muon():
    model = net()
    muon = torch.optim.Muon([p for p in model.parameters() if p.dim() == 2])
    rest = torch.optim.SGD([p for p in model.parameters() if p.dim() == 1], 0.1)
    engine = SleepEngine(model, [muon, rest], nodes=[hidden()]).attach()
    engine.sleep_nodes("0", 1)
    refused(engine, "Muon scales its step with the shape of the whole matrix")


def test_directions_of_unequal_size():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.GRU(3, 4, bidirectional=True)
            self.out = nn.Linear(8, 2)

        def forward(self, x):
            return self.out(self.rnn(x)[0])

    model = Net().double()
    engine = engine_of(model, recurrent_units(model, "rnn", ["out.weight"]), {"rnn.l0": [0]})
    inputs = torch.randn(2, 3, 3, dtype=torch.float64)
    refused(
        engine, "one number of units for all its layers and directions, and awake are l0 3", inputs
    )


def test_unequal_blocks():
    model = nn.Sequential(nn.Conv1d(2, 4, 1), nn.Conv1d(4, 6, 1, groups=2)).double()
    group = NodeGroup("0", 4, [Slice("0.weight")], [Slice("1.weight", 1, groups=2)], ["0.bias"])
    engine = engine_of(model, [group], {"0": [0]})
    inputs = torch.randn(2, 2, 3, dtype=torch.float64)
    refused(
        engine, r"2 groups needs equally many channels in each; awake are .* \[1, 2\] read", inputs
    )


def test_a_parametrized_weight():
    model = net()
    nn.utils.parametrizations.weight_norm(model[0])
    group = NodeGroup(
        "0",
        6,
        [
            Slice("0.parametrizations.weight.original0"),
            Slice("0.parametrizations.weight.original1"),
        ],
        [Slice("2.weight", 1)],
        ["0.bias"],
    )
    engine = engine_of(model, [group], {}, params="2")
    engine.live.nodes.sleep(engine._chosen("0", [1]), engine.live.store)
    refused(engine, "belongs to WeightNorm, whose tensors cannot be cut")


def test_compiled_models():
    model = net()
    engine = SleepEngine(
        torch.compile(model), torch.optim.SGD(model.parameters(), 0.1), nodes=[hidden()]
    )
    engine.attach()
    engine.sleep_nodes("0", 1)
    with pytest.raises(SetupError, match=r"torch\.compile has the shapes"):
        engine.compact(example_inputs=torch.randn(2, 4))
    other = net()
    other.compile()
    engine = engine_of(other, [hidden()], {"0": [1]})
    with pytest.raises(SetupError, match="the model is compiled"):
        engine.compact(example_inputs=torch.randn(2, 4))


def test_distributed_models(tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1
    )
    try:
        model = nn.parallel.DistributedDataParallel(net())
        engine = engine_of(model, [hidden()], {"0": [1]})
        with pytest.raises(SetupError, match="DistributedDataParallel has buckets of fixed sizes"):
            engine.compact(example_inputs=torch.randn(2, 4))
        engine.detach()
    finally:
        torch.distributed.destroy_process_group()


def test_what_is_missing():
    engine = engine_of(net(), [hidden()], {"0": [1]})
    with pytest.raises(SetupError, match="give example_inputs="):
        engine.compact()
    with pytest.raises(SetupError, match="does not run on example_inputs"):
        engine.compact(example_inputs=torch.randn(2, 5))
    engine.detach()
    with pytest.raises(SetupError, match=r"attach\(\) first"):
        engine.compact(example_inputs=torch.randn(2, 4, dtype=torch.float64))
    with pytest.raises(SetupError, match="compact='always' is not known"):
        SleepEngine(net(), compact="always")
    with pytest.raises(SetupError, match="give example_inputs="):
        SleepEngine(net(), nodes=[hidden()], compact="auto")


def test_dropout_over_nodes_is_told():
    engine = engine_of(net(nn.Dropout(0.5)), [hidden()], {"0": [1]})
    with pytest.warns(UserWarning, match="dropout over nodes draws other numbers"):
        assert engine.compact(example_inputs=torch.randn(2, 4, dtype=torch.float64))


def test_the_trial_leaves_no_trace():
    model = nn.Sequential(
        nn.Conv1d(2, 6, 1), nn.BatchNorm1d(6), nn.Dropout(0.0), nn.Conv1d(6, 2, 1)
    )
    model = model.double().train()
    model[2].eval()
    group = NodeGroup(
        "0",
        6,
        [Slice("0.weight")],
        [Slice("3.weight", 1)],
        ["0.bias", "1.weight", "1.bias"],
        ["1.running_mean", "1.running_var"],
    )
    engine = engine_of(model, [group], {"0": [1]})
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    engine.compact(example_inputs=torch.randn(1, 2, 1, dtype=torch.float64))
    engine.expand()
    assert [m.training for m in model] == [True, True, False, True]
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    generator = torch.Generator()
    generator.set_state(state)
    torch.randn(1, 2, 1, dtype=torch.float64, generator=generator)
    assert torch.equal(torch.get_rng_state(), generator.get_state())
