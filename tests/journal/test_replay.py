from __future__ import annotations

from typing import Any

import pytest

from sleepengine.errors import SetupError
from sleepengine.journal import Journal, Replay
from sleepengine.masks.store import MaskStore


def test_another_store_follows_the_recorded_steps(driven: Any, same_masks: Any) -> None:
    run = driven(keyframe_every=2)
    for step, place in [(10, 0), (20, 1), (20, 2), (35, 3)]:
        run.sleep(step, "b", [place])
    sent = run.journal.state_dict()
    there = Journal({name: list(shape) for name, shape in sent["shapes"].items()})
    there.load_state_dict(sent)
    replay = Replay(there)
    assert replay.steps() == [10, 20, 35]
    store = MaskStore({name: run.store.shape(name) for name in run.store.names()})
    slept = {}
    for step in range(40):
        if step in replay.steps():
            slept[step] = store.adopt(replay.masks(step)).slept.count()
    assert slept == {10: 1, 20: 2, 35: 1}
    assert same_masks(store, run.naive)


def test_a_replay_keeps_what_the_journal_held(driven: Any) -> None:
    run = driven(keep=4, keyframe_every=2)
    for step in range(1, 5):
        run.sleep(step, "b", [step])
    replay = Replay(run.journal)
    for step in range(5, 12):
        run.sleep(step, "b", [step])
    assert replay.steps() == [1, 2, 3, 4]
    assert replay.start().asleep_count() == 0
    assert [masks.asleep_count() for _, masks in replay] == [1, 2, 3, 4]
    assert [replay.masks(step).asleep_count() for step in range(6)] == [0, 1, 2, 3, 4, 4]


def test_a_replay_starts_where_the_journal_begins_to_know(driven: Any) -> None:
    run = driven(keep=2)
    for step in (10, 20, 30, 40):
        run.sleep(step, "b", [step // 10])
    replay = Replay(run.journal)
    assert (replay.first_step, replay.steps(), replay.start().asleep_count()) == (20, [30, 40], 2)
    with pytest.raises(SetupError, match="first step still known is 20"):
        replay.masks(19)


def test_plan_gives_masks_that_can_change_apart(driven: Any) -> None:
    run = driven()
    run.sleep(1, "b", [0])
    run.sleep(2, "b", [1])
    plan = run.journal.plan()
    plan[0][1].adopt(plan[1][1])
    assert [(step, masks.asleep_count()) for step, masks in run.journal.plan()] == [(1, 1), (2, 2)]
