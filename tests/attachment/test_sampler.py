import itertools
import warnings

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from sleepengine.attachment.sampler import ResumableSampler
from sleepengine.errors import SetupError, StateError


def make(length=7, batch_size=2, seed=3, **options):
    return ResumableSampler(length, batch_size=batch_size, seed=seed, **options)


def stream(sampler, count):
    """The first `count` batches of a run, epoch after epoch."""
    passes = itertools.chain.from_iterable(iter(sampler) for _ in itertools.count())
    return list(itertools.islice(passes, count))


def test_table_without_shuffle():
    sampler = make(shuffle=False)
    assert list(sampler) == [[0, 1], [2, 3], [4, 5], [6]]
    assert sampler.position == (1, 0)
    assert len(sampler) == 4
    sampler = make(shuffle=False, drop_last=True)
    assert list(sampler) == [[0, 1], [2, 3], [4, 5]]
    assert len(sampler) == 3


def test_each_epoch_is_another_permutation_of_all():
    sampler = make(length=50, batch_size=8)
    epochs = [list(itertools.chain(*sampler)) for _ in range(3)]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_order_is_a_function_of_seed_and_epoch_alone():
    torch.manual_seed(0)
    first = stream(make(), 12)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    assert stream(make(), 12) == first
    assert torch.equal(torch.get_rng_state(), before)
    assert stream(make(seed=4), 12) != first
    # Epoch 1 of seed 0 is not epoch 0 of seed 1.
    assert stream(make(50, 50, 0), 2)[1] != stream(make(50, 50, 1), 1)[0]


def test_order_is_stable_across_releases():
    assert list(make(8, 4, 0)) == [[4, 3, 0, 7], [5, 6, 1, 2]]


@pytest.mark.parametrize("done", range(10))
def test_loaded_state_continues_in_mid_epoch(done):
    whole = stream(make(), 14)
    sampler = make()
    assert stream(sampler, done) == whole[:done]
    state = sampler.state_dict()
    assert state["epoch"] * 4 + state["batches"] == done
    other = make()
    other.load_state_dict(state)
    assert stream(other, 14 - done) == whole[done:]


def test_state_is_plain(tmp_path):
    sampler = make()
    stream(sampler, 5)
    torch.save(sampler.state_dict(), tmp_path / "s.pt")
    state = torch.load(tmp_path / "s.pt", weights_only=True)
    assert state == sampler.state_dict()
    assert all(type(value) in (int, bool) for value in state.values())


def test_set_position_set_epoch_and_skip():
    whole = stream(make(), 12)
    sampler = make()
    sampler.set_position(1, 3)
    assert sampler.position == (1, 3)
    assert list(sampler) == whole[7:8]
    sampler.set_position(0, 4)  # the end of an epoch is the start of the next
    assert sampler.position == (1, 0)
    sampler.skip(2)
    sampler.set_epoch(1)  # the present epoch: the position inside stays
    assert sampler.position == (1, 2)
    sampler.set_epoch(2)
    assert sampler.position == (2, 0)
    sampler.set_epoch(0)
    sampler.skip(9)
    assert sampler.position == (2, 1)
    assert list(sampler) == whole[9:]


def test_a_pass_that_is_left_early_is_continued():
    whole = stream(make(), 4)
    sampler = make()
    assert list(itertools.islice(sampler, 2)) == whole[:2]
    assert list(sampler) == whole[2:]


@pytest.mark.parametrize("drop_last", [False, True])
def test_ranks_share_one_global_order(drop_last):
    for length, world in itertools.product((8, 9, 13), (1, 2, 3)):
        one = list(make(length, 2 * world, drop_last=drop_last))
        ranks = [
            list(make(length, 2, rank=r, world_size=world, drop_last=drop_last))
            for r in range(world)
        ]
        assert len({len(batches) for batches in ranks}) == 1
        for number, batch in enumerate(one):
            dealt = [ranks[r][number] for r in range(world)]
            together = [i for i in itertools.chain(*itertools.zip_longest(*dealt)) if i is not None]
            assert together[: len(batch)] == batch
            assert len({len(part) for part in dealt}) == 1


def test_one_sample_on_many_ranks():
    assert [list(make(1, 2, rank=r, world_size=4)) for r in range(4)] == [[[0]]] * 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 0}, "length must be at least 1"),
        ({"length": 2.5}, r"length must be an integer, found 2\.5"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"batch_size": True}, "batch_size must be an integer"),
        ({"seed": None}, "seed must be an integer"),
        ({"world_size": 2, "rank": 2}, "rank must be 0 to 1, found 2"),
        ({"batch_size": 8, "drop_last": True}, "7 samples give no batch of 8 on 1 processes"),
    ],
)
def test_construction_errors(options, message):
    with pytest.raises(SetupError, match=message):
        make(**options)


def test_position_errors():
    sampler = make()
    for epoch, batches in ((-1, 0), (0, 5), (0, -1)):
        with pytest.raises(SetupError, match="batches be 0 to 4"):
            sampler.set_position(epoch, batches)
    with pytest.raises(SetupError, match="two integers"):
        sampler.set_position(0.5)
    with pytest.raises(SetupError, match="must not be negative"):
        sampler.skip(-1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 9}, "saved with seed=9 and has 3 here"),
        ({"length": 8}, "saved with length=8"),
        ({"batch_size": 3}, "saved with batch_size=3"),
        ({"batches": 99}, "state is wrong: .* batches=99"),
        ({"epoch": "1"}, "state is wrong: a position is two integers"),
    ],
)
def test_state_errors(change, message):
    sampler = make()
    with pytest.raises(StateError, match=message):
        make().load_state_dict({**sampler.state_dict(), **change})
    with pytest.raises(StateError, match="has no 'epoch'"):
        sampler.load_state_dict({})
    assert sampler.position == (0, 0)


def numbers(count):
    return TensorDataset(torch.arange(count))


@pytest.mark.parametrize("workers", [0, 2])
def test_track_counts_what_the_loop_receives(workers):
    sampler = make(length=16)
    whole = stream(make(length=16), 16)
    loader = DataLoader(
        numbers(16), batch_sampler=sampler, num_workers=workers, generator=sampler.generator
    )
    seen = []
    for (batch,) in sampler.track(loader):
        seen.append(batch.tolist())
        assert sampler.position == divmod(len(seen), 8)
        if len(seen) == 3:
            break
    other = make(length=16)
    other.load_state_dict(sampler.state_dict())
    loader = DataLoader(
        numbers(16), batch_sampler=other, num_workers=workers, generator=other.generator
    )
    for _ in range(2):
        seen += [batch.tolist() for (batch,) in other.track(loader)]
    assert seen == whole
    assert other.position == (2, 0)


def test_as_sampler_of_a_loader_without_batching():
    sampler = make()
    loader = DataLoader(numbers(7), sampler=sampler, batch_size=None)
    assert [batch.tolist() for (batch,) in loader] == stream(make(), 4)
    assert len(loader) == 4


def test_plain_loader_advances_by_itself():
    sampler = make()
    loader = DataLoader(numbers(7), batch_sampler=sampler)
    seen = []
    for _ in range(2):
        for (batch,) in loader:
            seen.append(batch.tolist())
            assert sampler.position == divmod(len(seen), 4)
    assert seen == stream(make(), 8)


# ---- under an Ignite trainer -------------------------------------------------------------------


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
        make().attach(3)


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
