"""Every scorer that the package exports keeps the published contract."""

import inspect

import pytest

import saliency


def exported_scorers():
    for name in saliency.__all__:
        thing = getattr(saliency, name)
        if inspect.isclass(thing) and issubclass(thing, saliency.Scorer):
            if inspect.isabstract(thing):
                continue
            yield from thing.examples()


SCORERS = list(exported_scorers())


@pytest.mark.parametrize("scorer", SCORERS, ids=repr)
def test_keeps_the_contract(scorer):
    saliency.check_scorer(scorer)


@pytest.mark.parametrize("scorer", SCORERS, ids=repr)
def test_repr_reads_like_the_call(scorer):
    again = eval(repr(scorer), {name: getattr(saliency, name) for name in saliency.__all__})
    assert repr(again) == repr(scorer)
    assert type(again) is type(scorer)


@pytest.mark.parametrize("scorer", SCORERS, ids=repr)
def test_a_stranger_s_state_is_refused_and_nothing_changes(scorer):
    before = scorer.state_dict()
    with pytest.raises(ValueError, match=type(scorer).__name__):
        scorer.load_state_dict({"stranger": 1})
    assert scorer.state_dict() == before


def test_every_exported_name_is_there_once():
    assert len(set(saliency.__all__)) == len(saliency.__all__)
    assert all(hasattr(saliency, name) for name in saliency.__all__)
    assert {type(scorer).__name__ for scorer in SCORERS} >= {"Random", "Magnitude", "Lamp", "Sum"}
