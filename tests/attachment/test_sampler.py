import itertools

import pytest
import torch
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
