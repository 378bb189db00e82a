"""Random histories against a slow, obviously right store: one bool array per layer."""

import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sleepengine.masks.choice import Choice, Kind, Layer
from sleepengine.masks.store import MaskStore

SHAPES = {"a": torch.Size([3, 5]), "b": torch.Size([9])}
LAYERS = st.sampled_from(list(Layer))
KINDS = st.sampled_from(list(Kind))
NAMES = st.lists(st.sampled_from(["a", "b"]), unique=True)
SEEDS = st.integers(0, 2**31)


class History(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.store = MaskStore(SHAPES)
        self.naive = {
            (kind, layer, name): torch.zeros(shape, dtype=torch.bool)
            for kind in Kind
            for layer in Layer
            for name, shape in SHAPES.items()
        }
        self.kept = None

    def effective(self, kind, name):
        return self.naive[kind, Layer.WEIGHTS, name] | self.naive[kind, Layer.NODES, name]

    @rule(kind=KINDS, layer=LAYERS, names=NAMES, on=st.booleans(), seed=SEEDS)
    def change(self, kind, layer, names, on, seed):
        generator = torch.Generator().manual_seed(seed)
        masks = {n: torch.rand(SHAPES[n], generator=generator) < 0.3 for n in names}
        call = {
            (Kind.ASLEEP, True): self.store.sleep,
            (Kind.ASLEEP, False): self.store.wake,
            (Kind.FROZEN, True): self.store.freeze,
            (Kind.FROZEN, False): self.store.thaw,
        }[kind, on]
        before = {name: self.effective(kind, name) for name in SHAPES}
        changed = call(Choice(masks, layer))
        for name, mask in masks.items():
            old = self.naive[kind, layer, name]
            self.naive[kind, layer, name] = old | mask if on else old & ~mask
        expected = {name: before[name] ^ self.effective(kind, name) for name in SHAPES}
        assert changed == Choice(expected, layer)
        assert all(count for count in changed.counts().values())

    @rule()
    def keep(self):
        self.store.snapshot("kept")
        self.kept = dict(self.naive)

    @rule()
    def give_back(self):
        if self.kept is not None:
            before = {(k, n): self.effective(k, n) for k in Kind for n in SHAPES}
            changes = self.store.restore("kept")
            self.naive = dict(self.kept)
            gained = {k: {n: self.effective(k, n) & ~before[k, n] for n in SHAPES} for k in Kind}
            lost = {k: {n: before[k, n] & ~self.effective(k, n) for n in SHAPES} for k in Kind}
            assert changes.slept == Choice(gained[Kind.ASLEEP])
            assert changes.woke == Choice(lost[Kind.ASLEEP])
            assert changes.frozen == Choice(gained[Kind.FROZEN])
            assert changes.thawed == Choice(lost[Kind.FROZEN])

    @rule()
    def save_and_load(self):
        other = MaskStore(SHAPES)
        other.load_state_dict(self.store.state_dict())
        assert other.digest() == self.store.digest()
        self.store = other

    @rule()
    def fork_and_forget(self):
        digest, fork = self.store.digest(), self.store.fork()
        fork.sleep(Choice({n: torch.ones(s, dtype=torch.bool) for n, s in SHAPES.items()}))
        assert self.store.digest() == digest
        delta = self.store.diff(fork)
        fork.apply_diff(delta)
        assert fork.digest() == digest

    @invariant()
    def agrees(self):
        for name, shape in SHAPES.items():
            asleep, frozen = (self.effective(kind, name) for kind in Kind)
            ones = torch.ones(shape, dtype=torch.bool)
            awake, trainable = self.store.awake(name), self.store.trainable(name)
            held = self.store.frozen(name)
            assert torch.equal(~asleep, ones if awake is None else awake)
            assert torch.equal(~asleep & ~frozen, ones if trainable is None else trainable)
            assert torch.equal(frozen, ~ones if held is None else held)
            assert (awake is None) == (not asleep.any())
            assert self.store.asleep_count(name) == int(asleep.sum())
            assert self.store.frozen_count(name) == int(frozen.sum())
            assert (name in self.store.entries()) == bool((asleep | frozen).any())


TestHistory = History.TestCase
TestHistory.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
