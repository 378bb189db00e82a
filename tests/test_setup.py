"""Mistakes in what an engine is given, told in the words that the user wrote."""

import pytest
from torch import eye, nn, optim

import sleepengine as se
from saliency import Scorer
from schedules import once
from sleepengine import Rule, SetupError, Sleep, SleepEngine, Who, by, mask_from_adjacency


class Nothing(Scorer):
    def score(self, signals):
        pass


def engine(rules=(), **options):
    model = nn.Linear(3, 3)
    return SleepEngine(model, optim.SGD(model.parameters(), 0.1, momentum=0.9), rules, **options)


def test_one_rule_is_not_a_list():
    with pytest.raises(SetupError, match=r"write \[rule\]"):
        engine(Rule(once("1it"), Who(amount=by(0.5)), Sleep()))


def test_a_negative_interval_of_the_sentinel():
    with pytest.raises(SetupError, match="check_every=-1"):
        engine(check_every=-1)


def test_state_that_is_not_parked_says_which_option_parks_it():
    slept = engine()
    slept.sleep_weights("weight", (0, 0))
    with pytest.raises(SetupError, match="park_state='all'"):
        slept.wake_weights("weight", state="parked")


def test_a_wrong_layout_lists_the_valid_ones_once():
    with pytest.raises(SetupError) as told:
        mask_from_adjacency(eye(3), layout="rows")
    assert str(told.value).count("bipartite") == 1


def test_a_scorer_without_scores():
    with pytest.raises(SetupError, match=r"score\(\) returned NoneType"):
        engine().fire(Rule(once("1it"), Who(Nothing(), amount=by(0.5)), Sleep()))


def test_a_misspelled_public_name_offers_the_closest():
    with pytest.raises(AttributeError, match="Did you mean 'Magnitude'"):
        se.Magntude  # noqa: B018
