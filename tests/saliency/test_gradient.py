import pytest
import torch

from saliency import FirstMoment, Gradient, MissingSignal, Signals, Snip, Taylor

W = {"a": torch.tensor([2.0, -1.0, 0.0]), "b": torch.tensor([[1.0]])}
G = {"a": torch.tensor([-3.0, 1.0, 9.0]), "b": torch.tensor([[1.0]])}


@pytest.mark.parametrize(
    ("scorer", "a", "b"),
    [
        (Gradient(), [3.0, 1.0, 9.0], [[1.0]]),
        (Taylor(), [6.0, 1.0, 0.0], [[1.0]]),
        (Taylor(p=2), [36.0, 1.0, 0.0], [[1.0]]),
        (Taylor(signed=True), [6.0, 1.0, 0.0], [[-1.0]]),
        (Snip(), [0.75, 0.125, 0.0], [[0.125]]),
        (FirstMoment(), [3.0, 1.0, 9.0], [[1.0]]),
    ],
    ids=repr,
)
def test_by_hand(scorer, a, b):
    scores = scorer.score(Signals(weights=W, grads=G, moments=G))
    assert scores["a"].tolist() == a
    assert scores["b"].tolist() == b


def test_taylor_is_exact_for_a_linear_loss():
    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 2, bias=False).double()
    x = torch.randn(5, 3, dtype=torch.float64)
    layer(x).sum().backward()
    w = layer.weight
    scores = Taylor().score(Signals(weights={"w": w}, grads={"w": w.grad}))["w"]
    with torch.no_grad():
        whole = layer(x).sum()
        for i in range(2):
            for j in range(3):
                kept = w[i, j].item()
                w[i, j] = 0
                assert scores[i, j].item() == pytest.approx(abs(whole - layer(x).sum()).item())
                w[i, j] = kept


def test_signed_terms_of_a_group_add_up_to_what_it_costs_a_linear_loss():
    torch.manual_seed(1)
    layer = torch.nn.Linear(3, 2, bias=False).double()
    x = torch.randn(5, 3, dtype=torch.float64)
    layer(x).sum().backward()
    w = layer.weight
    scores = Taylor(signed=True).score(Signals(weights={"w": w}, grads={"w": w.grad}))["w"]
    with torch.no_grad():
        whole = layer(x).sum()
        w[1] = 0
        assert scores[1].sum().item() == pytest.approx((layer(x).sum() - whole).item())
    with pytest.raises(ValueError, match="a square has no sign"):
        Taylor(p=2, signed=True)
    with pytest.raises(TypeError, match="signed"):
        Taylor(signed=1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_snip_sums_to_one_and_ranks_like_taylor(dtype):
    generator = torch.Generator().manual_seed(1)
    w, g = (
        {n: torch.randn(40, generator=generator).mul(1e-3).to(dtype) for n in "ab"} for _ in "wg"
    )
    signals = Signals(weights=w, grads=g)
    snip, taylor = Snip().score(signals), Taylor().score(signals)
    assert sum(s.double().sum().item() for s in snip.values()) == pytest.approx(1, rel=1e-5)
    flat, reference = torch.cat(list(snip.values())), torch.cat(list(taylor.values()))
    assert torch.equal(flat.argsort(stable=True), reference.argsort(stable=True))
    assert flat.count_nonzero() == 80


def test_snip_of_nothing_is_zero():
    zero = {"a": torch.zeros(2)}
    assert Snip().score(Signals(weights=zero, grads=zero))["a"].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("scorer", [Gradient(), Taylor(), Snip()], ids=repr)
def test_a_parameter_without_gradient_is_named(scorer):
    signals = Signals(weights=W, grads={"a": G["a"]}).for_scorer(scorer, "grow")
    with pytest.raises(MissingSignal, match="in rule 'grow' needs 'grads' of 'b'"):
        scorer.score(signals)


def test_wrong_power():
    with pytest.raises(ValueError, match=r"Taylor\(p=3\): p must be 1 or 2"):
        Taylor(p=3)
