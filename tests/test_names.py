import pytest
import torch
from torch import nn

from sleepengine import names
from sleepengine.errors import SetupError, UnknownNameError
from sleepengine.shared_memory import check_targets


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.conv = nn.Conv2d(1, 2, 3)
        self.norm = nn.BatchNorm2d(2)
        self.attention = nn.MultiheadAttention(4, 2)
        self.mixed = nn.MultiheadAttention(4, 2, kdim=3, vdim=5)
        self.encoder = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 2))
        self.lstm = nn.LSTM(4, 3)


def tied() -> nn.Module:
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3))
    net[2].weight = net[0].weight
    return net


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fc1.weight", "fc1.weight"),
        ("module.fc1.weight", "fc1.weight"),
        ("_orig_mod.module.fc1.weight", "fc1.weight"),
        ("fc1._orig_mod.weight", "fc1.weight"),
        ("submodule.weight", "submodule.weight"),
        ("weight", "weight"),
    ],
)
def test_canonical(name, expected):
    assert names.canonical(name) == expected


def test_wrappers_do_not_change_names():
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    compiled = torch.compile(net, backend="eager")
    for wrapped in (net, nn.DataParallel(net), compiled, nn.DataParallel(compiled)):
        assert names.unwrap(wrapped) is net
        found = names.named_parameters(wrapped)
        assert list(found) == ["0.weight", "0.bias"]
        assert found["0.weight"] is net[0].weight
        assert names.owner(wrapped, "module.0.bias") == (net[0], "bias")
    inside = nn.Sequential(torch.compile(nn.Linear(2, 2), backend="eager"))
    assert list(names.named_parameters(inside)) == ["0.weight", "0.bias"]


def test_colliding_names_are_refused():
    net = nn.Linear(2, 2)
    net.module = nn.Linear(2, 2)
    with pytest.raises(SetupError, match=r"two parameters are named 'weight' .* 'module\.weight'"):
        names.named_parameters(net)


def test_tied_parameters_have_one_entry():
    net = tied()
    assert list(names.named_parameters(net)) == [
        "0.weight",
        "0.bias",
        "1.weight",
        "1.bias",
        "2.bias",
    ]
    assert names.aliases(net) == {"2.weight": "0.weight"}
    assert names.matching(net, "2") == ("0.weight",)
    assert names.parameter_of(net, "2") == "0.weight"
    assert names.owner(net, "2.weight") == (net[2], "weight")


def test_default_scope():
    net = Net()
    net.encoder[2].weight.requires_grad_(False)
    assert names.default_scope(net) == (
        "conv.weight",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
        "mixed.q_proj_weight",
        "mixed.k_proj_weight",
        "mixed.v_proj_weight",
        "mixed.out_proj.weight",
        "encoder.0.weight",
    )


def test_a_weight_tied_to_an_embedding_is_not_in_the_scope():
    net = nn.Sequential(nn.Embedding(4, 3), nn.Linear(3, 4))
    net[1].weight = net[0].weight
    assert names.default_scope(net) == ()


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ("conv", ["conv.weight"]),
        ("conv.bias", ["conv.bias"]),
        ("module.conv.bias", ["conv.bias"]),
        ("norm", ["norm.weight"]),
        ("encoder", ["encoder.0.weight", "encoder.2.weight"]),
        ("encoder.1", ["encoder.1.weight"]),
        ("attention", ["attention.in_proj_weight", "attention.out_proj.weight"]),
        ("lstm.weight_*", ["lstm.weight_ih_l0", "lstm.weight_hh_l0"]),
        (["encoder.?.bias", "conv"], ["conv.weight", *(f"encoder.{i}.bias" for i in range(3))]),
    ],
)
def test_matching(patterns, expected):
    assert list(names.matching(Net(), patterns)) == expected


def test_names_that_match_nothing():
    with pytest.raises(UnknownNameError, match=r"'cnov' matches no .* Did you mean 'conv'"):
        names.matching(Net(), ["conv", "cnov"])
    with pytest.raises(UnknownNameError, match=r"'\*\.wieght' matches no"):
        names.matching(Net(), "*.wieght")
    with pytest.raises(UnknownNameError, match=r"'encoder\.0\.wight'.*'encoder\.0\.weight'"):
        names.owner(Net(), "encoder.0.wight")
    with pytest.raises(UnknownNameError, match=r"no layer or parameter 'cnv'.*'conv'"):
        names.parameter_of(Net(), "cnv")
    with pytest.raises(SetupError, match=r"'lstm' has no parameter called 'weight'.*weight_ih_l0"):
        names.parameter_of(Net(), "lstm")


def test_two_parameters_on_one_memory_are_refused_by_name():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = nn.Parameter(net[0].weight.detach().T)
    found = names.named_parameters(net)
    for target in ("0.weight", "1.weight"):
        with pytest.raises(SetupError, match=r"'0\.weight' and '1\.weight' are two parameters"):
            check_targets(found, [target])
    check_targets(found, ["2.weight", "0.bias"])


def test_neighbours_in_one_buffer_are_not_shared():
    buffer, net = torch.zeros(12), nn.Module()
    net.a, net.b = nn.Parameter(buffer[:6].view(2, 3)), nn.Parameter(buffer[6:].view(2, 3))
    check_targets(names.named_parameters(net), ["a", "b"])
    net.c = nn.Parameter(buffer[5:7])
    with pytest.raises(SetupError, match="'a' and 'c'"):
        check_targets(names.named_parameters(net), ["a"])


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_lazy_parameters_need_a_batch_first():
    net = nn.Sequential(nn.LazyLinear(3))
    assert names.default_scope(net) == ("0.weight",)
    with pytest.raises(SetupError, match=r"'0\.weight' has no shape yet; run one batch"):
        check_targets(names.named_parameters(net), ["0.weight"])
