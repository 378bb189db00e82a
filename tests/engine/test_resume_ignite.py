"""An Ignite run that is saved and resumed goes on bit for bit."""

from __future__ import annotations

import pytest
import torch
from ignite.engine import DeterministicEngine, Events, create_supervised_trainer
from ignite.handlers import Checkpoint
from torch import nn, optim
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, TensorDataset

from sleepengine import (
    ResumableSampler,
    SleepEngine,
    SleepEvents,
)

from .resumed_rules import RULES, cloned, rigl


class Randomness:
    """The global random state, for dropout."""

    def state_dict(self):
        return {"torch": torch.get_rng_state()}

    def load_state_dict(self, state):
        torch.set_rng_state(state["torch"])


class Trained:
    """A trainer over a resumable order of batches, with everything that is saved."""

    def __init__(self, net, rules=rigl, accumulation=1):
        torch.manual_seed(5)
        generator = torch.Generator().manual_seed(1)
        x, y = (torch.randn(28, width, generator=generator) for width in (5, 3))
        self.model = nn.Sequential(*net(norm=True), nn.Dropout(0.2))
        self.optimizer = optim.AdamW(self.model.parameters(), 0.02)
        self.sampler = ResumableSampler(28, batch_size=6, seed=2)
        self.loader = DataLoader(
            TensorDataset(x, y), batch_sampler=self.sampler, generator=self.sampler.generator
        )
        self.trainer = create_supervised_trainer(
            self.model, self.optimizer, mse_loss, gradient_accumulation_steps=accumulation
        )
        self.sampler.attach(self.trainer)
        self.engine = SleepEngine(self.model, self.optimizer, rules(), seed=4)
        self.engine.attach(self.trainer)
        self.slept = []
        self.trainer.add_event_handler(
            SleepEvents.SLEPT(every=2), lambda t: self.slept.append(t.state.iteration)
        )
        self.to_save = {
            "model": self.model,
            "optimizer": self.optimizer,
            "trainer": self.trainer,
            "sleeper": self.engine,
            "randomness": Randomness(),
        }

    def run(self):
        self.trainer.run(self.loader, max_epochs=4)
        return [
            self.model.state_dict(),
            self.optimizer.state_dict(),
            self.engine.state_dict(),
            torch.get_rng_state(),
        ]


@pytest.mark.parametrize("kind", ["rigl", "rigl skip", "gradual"])
def test_checkpoint_in_the_middle_of_an_epoch(kind, net, same, tmp_path):
    whole = Trained(net, RULES[kind])
    saver = Checkpoint(whole.to_save, str(tmp_path), n_saved=None, filename_pattern="{global_step}")
    whole.trainer.add_event_handler(Events.ITERATION_COMPLETED(every=3), saver)
    result = whole.run()
    assert whole.trainer.state.iteration == 20
    for cut in (3, 6, 12, 15):
        again = Trained(net, RULES[kind])
        Checkpoint.load_objects(again.to_save, str(tmp_path / f"{cut}"))  # weights_only=True
        assert same(again.run(), result), cut
        assert again.slept == [step for step in whole.slept if step > cut]


def test_a_checkpoint_between_two_accumulated_steps_ends_with_the_same_masks_and_clock(
    net, same, tmp_path
):
    """Sums of gradients are in no checkpoint, so the cut is where they are empty."""
    whole = Trained(net, accumulation=2)
    saver = Checkpoint(whole.to_save, str(tmp_path), n_saved=None, filename_pattern="{global_step}")
    whole.trainer.add_event_handler(Events.ITERATION_COMPLETED(every=2), saver)
    result = whole.run()
    for cut in (2, 8, 14):
        again = Trained(net, accumulation=2)
        Checkpoint.load_objects(again.to_save, str(tmp_path / f"{cut}"))
        assert same(again.run(), result), cut


def test_a_checkpoint_that_was_written_before_the_tick_is_refused(net, tmp_path):
    whole = Trained(net)
    whole.engine.detach()
    saver = Checkpoint(whole.to_save, str(tmp_path), filename_pattern="last")
    whole.trainer.add_event_handler(Events.ITERATION_COMPLETED(once=3), saver)
    whole.engine.attach(whole.trainer)
    whole.run()
    again = Trained(net)
    Checkpoint.load_objects(again.to_save, str(tmp_path / "last"))
    with pytest.raises(ValueError, match=r"resumes at iteration 3, the sleep engine is at 2"):
        again.run()


def test_deterministic_engine_at_the_end_of_an_epoch(net, same):
    def build():
        torch.manual_seed(5)
        model = nn.Sequential(*net(), nn.Dropout(0.2))
        optimizer = optim.AdamW(model.parameters(), 0.02)
        generator = torch.Generator().manual_seed(1)
        x, y = (torch.randn(24, width, generator=generator) for width in (5, 3))
        loader = DataLoader(TensorDataset(x, y), batch_size=6, shuffle=True)

        def process(trainer, data):
            optimizer.zero_grad()
            mse_loss(model(data[0]), data[1]).backward()
            optimizer.step()

        trainer = DeterministicEngine(process)
        trainer.state.seed = 7
        engine = SleepEngine(model, optimizer, rigl()).attach(trainer)
        return model, optimizer, trainer, engine, loader

    *parts, loader = build()
    kept = []
    parts[2].add_event_handler(
        Events.EPOCH_COMPLETED(once=2),
        lambda _: kept.extend(cloned(part.state_dict()) for part in parts),
    )
    parts[2].run(loader, max_epochs=4)
    *again, loader = build()
    for part, state in zip(again, kept, strict=True):
        part.load_state_dict(state)
    again[2].run(loader, max_epochs=4)
    for k in (0, 1, 3):
        assert same(again[k].state_dict(), parts[k].state_dict())
