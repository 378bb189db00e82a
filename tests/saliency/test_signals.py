import pytest
import torch

from saliency import NEEDS, MissingSignal, Signals, Taylor, example_signals

W = {"fc.weight": torch.tensor([[1.0, 0.0]]), "out.weight": torch.tensor([2.0])}


@pytest.mark.parametrize("need", sorted(NEEDS))
def test_reading_an_absent_signal_names_scorer_need_rule_and_remedy(need):
    signals = Signals().for_scorer(Taylor(), "snip at init")
    assert not signals.has(need)
    expected = rf"Taylor\(p=1\) in rule 'snip at init' needs '{need}'.*{need}="
    with pytest.raises(MissingSignal, match=expected):
        getattr(signals, need)


def test_reading_an_absent_name_offers_the_closest_match():
    signals = Signals(weights=W, grads={"out.weight": torch.zeros(1)}, scorer="Gradient()")
    with pytest.raises(MissingSignal, match=r"Gradient\(\) needs 'grads' of 'fc.weight'"):
        signals.grads["fc.weight"]
    with pytest.raises(MissingSignal, match=r"Did you mean 'fc.weight'\?"):
        signals.weights["fc.wieght"]


@pytest.mark.parametrize("need", sorted(NEEDS))
def test_each_signal_is_read_by_its_own_name(need):
    given = {n: {"w": torch.tensor([float(i)])} for i, n in enumerate(sorted(NEEDS))}
    signals = Signals(**given)
    assert torch.equal(getattr(signals, need)["w"], given[need]["w"])
    assert torch.equal(signals.read(need)["w"], given[need]["w"])
    kept = signals.keeping({need})
    assert [n for n in sorted(NEEDS) if kept.has(n)] == [need]


def test_awake_and_offsets_are_empty_when_absent():
    assert Signals(weights=W).awake == {}
    assert Signals(weights=W).offsets == {}


def test_parameters_come_out_detached_and_share_their_memory():
    w = torch.nn.Parameter(torch.ones(2))
    read = Signals(weights={"w": w}).weights["w"]
    assert not read.requires_grad
    assert read.data_ptr() == w.data_ptr()


def test_a_scorer_cannot_change_what_the_next_one_reads():
    weights = dict(W)
    signals = Signals(weights=weights)
    signals.for_scorer("A()", "r").weights.pop("fc.weight")
    assert list(signals.weights) == list(weights) == ["fc.weight", "out.weight"]


def test_fields_are_frozen():
    signals = Signals(weights=W)
    for name in ("step", "weights", "awake"):
        with pytest.raises(AttributeError):
            setattr(signals, name, 1)


@pytest.mark.parametrize("need", ["grads", "anchor", "moments", "awake"])
def test_a_wrong_shape_is_refused(need):
    wrong = {"fc.weight": torch.zeros(2, dtype=torch.bool)}
    expected = rf"{need}=.*'fc.weight' has shape \(2,\), but its weight has shape \(1, 2\)"
    with pytest.raises(ValueError, match=expected):
        Signals(weights=W, **{need: wrong})


def test_wrong_types_are_refused():
    with pytest.raises(TypeError, match=r"grads=.*'fc.weight' is a NoneType, not a tensor"):
        Signals(weights=W, grads={"fc.weight": None})
    with pytest.raises(TypeError, match=r"awake=.*dtype torch.float32; it must be torch.bool"):
        Signals(weights=W, awake={"fc.weight": torch.ones(1, 2)})
    with pytest.raises(ValueError, match=r"has\('gradients'\): valid names are \['activations'"):
        Signals().has("gradients")


def test_the_generator_differs_between_rules():
    drawn = [
        torch.rand(4, generator=Signals(seed=3, rule=rule).generator).tolist()
        for rule in ("drop", "grow", "drop")
    ]
    assert drawn[0] == drawn[2] != drawn[1]


def test_the_generator_is_fresh_and_depends_on_seed_and_step():
    def draw(seed, step):
        return torch.rand(4, generator=Signals(seed=seed, step=step).generator).tolist()

    signals, state = Signals(seed=3), torch.get_rng_state()
    first = torch.rand(4, generator=signals.generator).tolist()
    assert first == torch.rand(4, generator=signals.generator).tolist() == draw(3, 0)
    assert len({str(draw(s, t)) for s in (3, 4) for t in (0, 1)}) == 4
    assert torch.equal(state, torch.get_rng_state())


def test_copies_keep_the_rest():
    signals = Signals(
        weights=W,
        grads={n: w + 1 for n, w in W.items()},
        awake={"fc.weight": torch.tensor([[True, False]])},
        offsets={"fc.weight": 5},
        seed=1,
        step=2,
        scorer="A()",
        rule="r",
    )
    only = signals.only({"fc.weight"})
    assert list(only.weights) == list(only.grads) == list(only.awake) == ["fc.weight"]
    for copied in (only, signals.keeping({"weights"}), signals.for_scorer("A()", "r")):
        assert (copied.seed, copied.step, copied.scorer, copied.rule) == (1, 2, "A()", "r")
        assert copied.offsets == {"fc.weight": 5}
        assert copied.awake["fc.weight"].tolist() == [[True, False]]
    assert signals.at_step(9).step == 9
    assert repr(only) == "<Signals of step 2: weights: 1, grads: 1>"


def test_example_signals_have_all_signals_and_something_asleep():
    signals = example_signals(torch.float64)
    assert all(signals.has(need) for need in NEEDS)
    asleep = ~signals.awake["fc.weight"]
    assert asleep.any()
    assert not signals.weights["fc.weight"][asleep].any()
    assert signals.parked["fc.weight"][asleep].all()
    assert signals.weights["conv.weight"].all()
    assert all(t.dtype == torch.float64 for t in signals.curvature.values())
