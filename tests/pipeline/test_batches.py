"""Batches of data in memory."""

import pytest
import torch
from ignite.engine import Engine

from sleepengine.errors import SetupError
from sleepengine.pipeline.problems.data import Data, Part, Scaling, Split


def small():
    def split(n):
        return Split(torch.arange(float(n)).reshape(n, 1), torch.arange(n) % 2)

    return Data("small", split(7), split(3), split(2), (1,), 2, Scaling(1.0, 0.0, 1.0))


def test_loader_shuffles_only_training_by_default():
    data = small()
    order = [i for x, _ in data.loader("train", batch_size=3) for i in x.flatten().tolist()]
    assert sorted(order) == list(range(7))
    assert order != sorted(order)
    assert [x.flatten().tolist() for x, _ in data.loader("valid", batch_size=2)] == [[0, 1], [2]]
    straight = data.loader(Part.TRAIN, batch_size=3, shuffle=False, drop_last=True)
    assert [x.flatten().tolist() for x, _ in straight] == [[0, 1, 2], [3, 4, 5]]
    assert len(straight) == 2


def test_loader_keeps_inputs_and_labels_together():
    for x, y in small().loader("train", batch_size=2, seed=4):
        assert (x.flatten().long() % 2).tolist() == y.tolist()


def test_loader_resumes_in_mid_epoch_under_a_trainer():
    def run(state=None, stop=None):
        loader = small().loader("train", batch_size=2, seed=1)
        seen = []

        def step(engine, batch):
            seen.append(batch[0].flatten().tolist())
            if engine.state.iteration == stop:
                engine.terminate()

        trainer = Engine(step)
        loader.sampler.attach(trainer)
        if state is not None:
            trainer.load_state_dict(state)
            trainer.run(loader)
        else:
            trainer.run(loader, max_epochs=3)
        return seen, trainer.state_dict()

    whole, _ = run()
    for stop in range(1, 12):
        first, state = run(stop=stop)
        second, _ = run(state)
        assert first + second == whole


def test_loader_errors():
    data = small()
    with pytest.raises(SetupError, match=r"unknown split 'trian'. Did you mean 'train'\?"):
        data.loader("trian", batch_size=2)
    with pytest.raises(SetupError, match="batch_size must be at least 1"):
        data.loader("train", batch_size=0)


def test_to_moves_everything():
    data = small().to("meta")
    assert {s.x.device.type for s in (data.train, data.valid, data.test)} == {"meta"}
    assert data.test.y.device.type == "meta"
    assert data.name == "small"
