"""The contract test finds scorers that break it: one small offender per clause."""

import pytest
import torch

from saliency import BrokenContract, Magnitude, Scorer, Signals, check_scorer


class Offender(Scorer):
    """Magnitude, with one thing wrong per subclass."""

    def score(self, signals):
        return {name: w.abs() for name, w in signals.weights.items()}


class DropsAKey(Offender):
    def score(self, signals):
        return dict(list(super().score(signals).items())[1:])


class Reorders(Offender):
    def score(self, signals):
        return dict(reversed(super().score(signals).items()))


class WrongShape(Offender):
    def score(self, signals):
        return {name: torch.ones(7) for name in signals.weights}


class Counts(Offender):
    def score(self, signals):
        return {name: torch.ones(w.shape, dtype=torch.int64) for name, w in signals.weights.items()}


class Infinite(Offender):
    def score(self, signals):
        return {name: 1 / w.abs() for name, w in signals.weights.items()}


class HandsOutWeights(Offender):
    def score(self, signals):
        return dict(signals.weights)


class WritesWeights(Offender):
    def score(self, signals):
        for w in signals.weights.values():
            w.mul_(2)
        return {name: torch.ones_like(w) for name, w in signals.weights.items()}


class DrawsGlobally(Offender):
    def score(self, signals):
        torch.rand(1)
        return super().score(signals)


class Noisy(Offender):
    def score(self, signals):
        self.calls = getattr(self, "calls", 0) + 1
        return {name: w.abs() + self.calls for name, w in signals.weights.items()}


class DeclaresTooMuch(Offender):
    needs = frozenset({"grads"})


class DeclaresTooLittle(Offender):
    def score(self, signals):
        return {name: signals.grads[name].abs() for name in signals.weights}


class AnchorWithoutNeed(Offender):
    anchor = "init"


class SumsYetElementwise(Offender):
    elementwise = True

    def score(self, signals):
        return {name: w.abs() + w.abs().sum() for name, w in signals.weights.items()}


class PlaceYetEquivariant(Offender):
    equivariant = True

    def score(self, signals):
        place = {n: torch.arange(w.numel()).reshape(w.shape) for n, w in signals.weights.items()}
        return {name: w.abs() + place[name] for name, w in signals.weights.items()}


class Remembers(Offender):
    """A correct accumulator: the sum of magnitudes."""

    accumulates = True

    def __init__(self):
        self.total = {}

    def score(self, signals):
        return {name: w.abs() + self.total.get(name, 0) for name, w in signals.weights.items()}

    def observe(self, signals):
        for name, w in signals.weights.items():
            self.total[name] = self.total.get(name, 0) + w.abs()

    def reset(self):
        self.total = {}

    def state_dict(self):
        return {name: value.clone() for name, value in self.total.items()}

    def load_state_dict(self, state):
        self.total = {name: value.clone() for name, value in state.items()}


class NeverForgets(Remembers):
    def __init__(self):
        super().__init__()
        self.steps = 0

    def observe(self, signals):
        super().observe(signals)
        self.steps += 1

    def score(self, signals):
        return {name: score + self.steps for name, score in super().score(signals).items()}

    def state_dict(self):
        return {**super().state_dict(), "steps": self.steps}

    def load_state_dict(self, state):
        super().load_state_dict({n: v for n, v in state.items() if n != "steps"})
        self.steps = state["steps"]


class LosesItsState(Remembers):
    def load_state_dict(self, state):
        pass


class StateIsLive(Remembers):
    def observe(self, signals):
        for name, w in signals.weights.items():
            self.total.setdefault(name, torch.zeros_like(w)).add_(w.abs())

    def state_dict(self):
        return self.total


class StateOfObjects(Remembers):
    def state_dict(self):
        return {**super().state_dict(), "who": self}

    def load_state_dict(self, state):
        super().load_state_dict({n: v for n, v in state.items() if n != "who"})


class KeepsTheTensor(Remembers):
    def observe(self, signals):
        self.total = dict(signals.weights)


class HandsOutMemory(Remembers):
    def score(self, signals):
        seen = self.total
        return {n: seen[n] if n in seen else w.abs() for n, w in signals.weights.items()}


class GradientsOrElse(Remembers):
    needs = frozenset({"grads"})

    def score(self, signals):
        seen = self.total
        return {n: seen.get(n, signals.grads[n]).abs() for n in signals.weights}

    def observe(self, signals):
        self.total = {name: signals.grads[name].clone() for name in signals.weights}


@pytest.mark.parametrize(
    ("offender", "clause"),
    [
        (DropsAKey, "the scores are of"),
        (Reorders, "the scores are of"),
        (WrongShape, r"of shape \(7,\) do not broadcast to \(4, 3\)"),
        (Counts, "dtype torch.int64"),
        (Infinite, "of 'fc.weight' are not finite"),
        (HandsOutWeights, "share memory with a signal"),
        (WritesWeights, "wrote into a signal"),
        (DrawsGlobally, "global generator"),
        (Noisy, "asked twice"),
        (DeclaresTooMuch, "needs 'grads', but never reads it"),
        (AnchorWithoutNeed, "anchor is 'init', but needs are"),
        (SumsYetElementwise, "elementwise, but"),
        (PlaceYetEquivariant, "equivariant, but"),
        (NeverForgets, r"after reset\(\)"),
        (LosesItsState, "a loaded state scores differently"),
        (StateIsLive, "changed a saved or loaded state"),
        (StateOfObjects, "its state holds a StateOfObjects"),
        (KeepsTheTensor, "instead of a copy"),
        (HandsOutMemory, "same memory twice"),
    ],
)
def test_names_the_broken_clause(offender, clause):
    with pytest.raises(BrokenContract, match=f"{offender.__name__}.*{clause}"):
        check_scorer(offender())


def test_an_undeclared_need_is_named():
    with pytest.raises(ValueError, match=r"'grads', which were not gathered.*list 'grads'"):
        check_scorer(DeclaresTooLittle())


def test_a_step_without_a_gradient_must_be_survived():
    with pytest.raises(ValueError, match=r"'grads' of 'fc.weight', which were not gathered"):
        check_scorer(GradientsOrElse())


def test_a_correct_accumulator_passes_and_stays_as_it_is():
    scorer = Remembers()
    scorer.observe(Signals(weights={"w": torch.ones(2)}))
    check_scorer(scorer)
    assert torch.equal(scorer.total["w"], torch.ones(2))


def test_own_signals_are_used():
    signals = Signals(weights={"mine": torch.ones(2, 2, dtype=torch.float64)})
    check_scorer(Magnitude(), signals)
    with pytest.raises(BrokenContract, match=r"do not broadcast to \(2, 2\)"):
        check_scorer(WrongShape(), signals)


def test_not_a_scorer():
    with pytest.raises(TypeError, match=r"Did you mean Magnitude\(\)\?"):
        check_scorer(Magnitude)
