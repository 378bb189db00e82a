"""The sampler under a trainer: positions, resuming in mid-epoch."""

import warnings

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from sleepengine.attachment.sampler import ResumableSampler
from sleepengine.errors import SetupError, StateError


class Run:
    """A small training run with dropout and momentum; everything is built anew for each."""

    def __init__(self, workers):
        torch.manual_seed(0)
        draw = torch.Generator().manual_seed(1)
        x = torch.randn(13, 4, generator=draw)
        data = TensorDataset(x, x.sum(1, keepdim=True))
        self.model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.01)
        self.sampler = ResumableSampler(data, batch_size=4, seed=5)
        self.loader = DataLoader(
            data,
            batch_sampler=self.sampler,
            num_workers=workers,
            generator=self.sampler.generator,
        )
        self.trainer = Engine(self.step)
        self.sampler.attach(self.trainer)
        self.seen = []

    def step(self, _engine, batch):
        x, y = batch
        self.seen.append(x[:, 0].tolist())
        self.optimizer.zero_grad()
        loss = (self.model(x) - y).square().mean()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def state(self):
        return {
            "model": {k: v.clone() for k, v in self.model.state_dict().items()},
            "optimizer": self.optimizer.state_dict(),
            "sampler": self.sampler.state_dict(),
            "trainer": self.trainer.state_dict(),
            "random": torch.get_rng_state(),
        }

    def load(self, state):
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.sampler.load_state_dict(state["sampler"])
        self.trainer.load_state_dict(state["trainer"])
        torch.set_rng_state(state["random"])

    def bits(self):
        moments = [v for s in self.optimizer.state.values() for v in s.values()]
        return torch.cat([t.detach().reshape(-1) for t in [*self.model.parameters(), *moments]])


class StopError(Exception):
    pass


def run_until(run, iteration, tmp_path, epochs):
    """Train up to an iteration, save, and die there."""

    def save_and_stop(_engine):
        torch.save(run.state(), tmp_path / "run.pt")
        raise StopError

    run.trainer.add_event_handler(Events.ITERATION_COMPLETED(once=iteration), save_and_stop)
    with pytest.raises(StopError):
        run.trainer.run(run.loader, max_epochs=epochs)


@pytest.mark.parametrize(
    ("workers", "iterations"), [(0, range(1, 12)), (2, (2, 4, 7))], ids=["alone", "2 workers"]
)
def test_resume_in_mid_epoch_is_bit_identical(workers, iterations, tmp_path):
    whole = Run(workers)
    whole.trainer.run(whole.loader, max_epochs=3)
    assert len(whole.seen) == 12
    for iteration in iterations:
        first = Run(workers)
        run_until(first, iteration, tmp_path, 3)
        second = Run(workers)
        second.load(torch.load(tmp_path / "run.pt", weights_only=True))
        torch_state_moved = torch.get_rng_state()
        second.trainer.run(second.loader)
        assert not torch.equal(torch.get_rng_state(), torch_state_moved)  # dropout did draw
        assert first.seen + second.seen == whole.seen
        assert torch.equal(second.bits(), whole.bits())


def test_trainer_state_alone_is_enough(tmp_path):
    whole = Run(0)
    whole.trainer.run(whole.loader, max_epochs=2)
    run_until(Run(0), 3, tmp_path, 2)
    second = Run(0)
    state = torch.load(tmp_path / "run.pt", weights_only=True)
    second.trainer.load_state_dict(state["trainer"])
    second.trainer.run(second.loader)
    assert second.seen == whole.seen[3:]


def test_without_the_samplers_generator_the_run_warns():
    run = Run(0)
    loader = DataLoader(run.loader.dataset, batch_sampler=run.sampler)
    with pytest.warns(UserWarning, match="generator=sampler.generator"):
        run.trainer.run(loader)


def test_sampler_loaded_but_not_the_trainer_is_refused(tmp_path):
    run_until(Run(0), 6, tmp_path, 3)
    state = torch.load(tmp_path / "run.pt", weights_only=True)
    second = Run(0)
    second.sampler.load_state_dict(state["sampler"])
    with pytest.raises(StateError, match="after 6 batches, the trainer after 0 iterations"):
        second.trainer.run(second.loader, max_epochs=3)


def test_a_sampler_loaded_before_attach_must_agree_too():
    run = Run(0)
    run.sampler.detach()
    run.sampler.set_position(1, 2)
    run.sampler.attach(run.trainer)
    with pytest.raises(StateError, match="after 6 batches"):
        run.trainer.run(run.loader)


def test_a_look_at_one_batch_before_attach_does_no_harm():
    whole = Run(0)
    whole.trainer.run(whole.loader)
    run = Run(0)
    run.sampler.detach()
    next(iter(run.loader))
    run.sampler.attach(run.trainer)
    run.trainer.run(run.loader)
    assert run.seen == whole.seen


def test_others_may_read_the_loader_and_see_whole_epochs():
    whole = Run(0)
    whole.trainer.run(whole.loader, max_epochs=2)
    run = Run(0)
    sizes = []

    def evaluate(_engine):
        reader = Engine(lambda _e, batch: sizes.append(len(batch[0])))
        reader.run(run.loader)

    run.trainer.add_event_handler(Events.ITERATION_COMPLETED(every=3), evaluate)
    run.trainer.add_event_handler(Events.EPOCH_COMPLETED, evaluate)
    run.trainer.run(run.loader, max_epochs=2)
    assert run.seen == whole.seen
    assert sizes == [4, 4, 4, 1] * 4


@pytest.mark.parametrize("epoch_length", [3, 6])
def test_an_epoch_length_of_the_trainers_own(epoch_length, tmp_path):
    whole = Run(0)
    whole.trainer.run(whole.loader, max_epochs=3, epoch_length=epoch_length)
    flow = Run(0)
    flow.trainer.run(flow.loader, max_iters=3 * epoch_length)
    assert flow.seen == whole.seen
    first = Run(0)

    def save_and_stop(_engine):
        torch.save(first.state(), tmp_path / "run.pt")
        raise StopError

    first.trainer.add_event_handler(Events.ITERATION_COMPLETED(once=5), save_and_stop)
    with pytest.raises(StopError):
        first.trainer.run(first.loader, max_epochs=3, epoch_length=epoch_length)
    second = Run(0)
    second.load(torch.load(tmp_path / "run.pt", weights_only=True))
    second.trainer.run(second.loader)
    assert first.seen + second.seen == whole.seen


def test_an_epoch_cut_short_goes_on_where_it_was():
    whole = Run(0)
    whole.trainer.run(whole.loader, max_epochs=3)
    run = Run(0)
    run.trainer.add_event_handler(
        Events.ITERATION_COMPLETED(once=2), lambda engine: engine.terminate_epoch()
    )
    run.trainer.run(run.loader, max_epochs=2)
    assert len(run.seen) == 6
    assert run.seen == whole.seen[:6]


def test_detach_keeps_the_position_and_leaves_no_handlers():
    run = Run(0)
    run.trainer.run(run.loader, max_epochs=1)
    assert run.sampler.position == (1, 0)
    run.sampler.detach()
    run.sampler.detach()
    assert run.sampler.position == (1, 0)
    assert all(not handlers for handlers in run.trainer._event_handlers.values())


def test_attach_errors():
    run = Run(0)
    with pytest.raises(SetupError, match="attached already"):
        run.sampler.attach(run.trainer)
    with pytest.raises(SetupError, match="needs an ignite Engine, found int"):
        ResumableSampler(7, batch_size=2, seed=3).attach(3)


def test_position_under_a_trainer_is_the_trainers():
    run = Run(0)
    positions = []
    run.trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda _e: positions.append(run.sampler.position)
    )
    run.trainer.run(run.loader, max_epochs=2)
    assert positions == [(0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (1, 3), (2, 0)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run.sampler.set_epoch(2)  # the habit of distributed samplers changes nothing
