import pytest
import torch

from saliency import Magnitude, Scorer
from saliency.scorer import check_scorer_argument, one_anchor, widened


def test_an_unknown_need_is_refused_when_the_class_is_written():
    with pytest.raises(TypeError, match=r"Mine.needs holds 'gradients'.*Did you mean 'grads'\?"):

        class Mine(Scorer):
            needs = frozenset({"gradients"})

    with pytest.raises(TypeError, match=r"Mine.needs must be a frozenset"):

        class Mine(Scorer):
            needs = ["grads"]


def test_a_scorer_without_score_cannot_be_made():
    class Empty(Scorer):
        pass

    with pytest.raises(TypeError, match="abstract"):
        Empty()


def test_defaults():
    scorer = Magnitude()
    assert scorer.needs == {"weights"}
    assert scorer.anchor is None
    assert not scorer.accumulates
    assert scorer.state_dict() == {}
    assert scorer.load_state_dict({}) is None
    with pytest.raises(ValueError, match=r"Magnitude\(p=1\) keeps no state, but was given \['a'\]"):
        scorer.load_state_dict({"a": 1})


def test_scorer_arguments():
    check_scorer_argument("Lamp", "scorer", Magnitude())
    with pytest.raises(TypeError, match=r"Lamp\(scorer=Magnitude\).*Did you mean Magnitude\(\)\?"):
        check_scorer_argument("Lamp", "scorer", Magnitude)
    with pytest.raises(TypeError, match=r"Lamp\(scorer='Magnitude'\): scorer must be a scorer"):
        check_scorer_argument("Lamp", "scorer", "Magnitude")


def test_no_scorers_share_no_anchor():
    assert one_anchor("Sum", []) is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_short_floats_are_widened(dtype):
    assert widened(torch.ones(2, dtype=dtype)).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_long_floats_are_left_alone(dtype):
    tensor = torch.ones(2, dtype=dtype)
    assert widened(tensor) is tensor
