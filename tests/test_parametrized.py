import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from schedules import once
from sleepengine import Magnitude, Rule, Sleep, SleepEngine, Who, to
from sleepengine.errors import SetupError
from sleepengine.parametrized import behind_weights, check_not_behind


class Double(nn.Module):
    def forward(self, weight):
        return 2 * weight


def net(wrap) -> nn.Module:
    layer = nn.Linear(3, 3)
    wrap(layer)
    return nn.Sequential(nn.Linear(3, 3), layer)


def doubled(layer):
    parametrize.register_parametrization(layer, "weight", Double())


def old_weight_norm(layer):
    with pytest.warns(FutureWarning):
        nn.utils.weight_norm(layer)


def old_spectral_norm(layer):
    nn.utils.spectral_norm(layer)


AT = "1.parametrizations.weight."
CASES = [
    (parametrizations.weight_norm, AT + "original0", None),
    (parametrizations.weight_norm, AT + "original1", r"NaN.* through '1.*original0'"),
    (parametrizations.weight_norm, "1.weight", r"computed by WeightNorm from .*original0, .*inal1"),
    (parametrizations.spectral_norm, AT + "original", "divided by a norm"),
    (parametrizations.orthogonal, AT + "original", "not zeros in the weight"),
    (parametrizations.orthogonal, "1.weight", "computed by Orthogonal"),
    (
        lambda m: parametrize.register_parametrization(m, "weight", Double()),
        AT + "original",
        "need",
    ),
    (old_weight_norm, "1.weight_g", None),
    (old_weight_norm, "1.weight_v", "NaN"),
    (old_spectral_norm, "1.weight_orig", "spectral_norm"),
    (lambda m: prune.l1_unstructured(m, "weight", 1), "1.weight_orig", "remove_torch_prune"),
    (lambda m: prune.l1_unstructured(m, "weight", 1), "1.weight", "computed by torch.nn.utils"),
    (parametrizations.weight_norm, "0.weight", None),
    (parametrizations.weight_norm, "1.bias", None),
]


@pytest.mark.parametrize(("wrap", "name", "message"), CASES)
def test_targets_behind_a_weight(wrap, name, message):
    model = net(wrap)
    if message is None:
        check_not_behind(model, ["0.bias", name])
    else:
        with pytest.raises(SetupError, match=message):
            check_not_behind(model, ["0.bias", name])


def test_the_listed_names_are_those_of_the_model():
    model = net(parametrizations.weight_norm)
    known = dict(model.named_parameters())
    assert set(behind_weights(nn.DataParallel(model))) == {AT + "original0", AT + "original1"}
    assert set(behind_weights(model)) <= set(known)
    assert behind_weights(nn.Linear(2, 2)) == {}


def test_the_verdicts_are_true():
    model = net(parametrizations.weight_norm)
    with torch.no_grad():
        model[1].parametrizations.weight.original0[0] = 0.0
        assert not model[1].weight[0].any()
        model[1].parametrizations.weight.original1[1] = 0.0
        assert bool(model[1].weight[1].isnan().all())


def pruning(model, **who):
    rule = Rule(once("0it"), Who(Magnitude(), amount=to(0.5), **who), Sleep())
    return SleepEngine(model, torch.optim.SGD(model.parameters(), 0.1), [rule])


@pytest.mark.parametrize(
    ("wrap", "by"),
    [
        (parametrizations.orthogonal, "Orthogonal"),
        (parametrizations.weight_norm, "WeightNorm"),
        (lambda m: prune.l1_unstructured(m, "weight", 1), "torch.nn.utils.prune"),
    ],
    ids=["orthogonal", "weight_norm", "prune"],
)
def test_a_computed_weight_that_the_default_scope_lacks_is_named_at_attach(wrap, by):
    inner = net(wrap)
    engine = pruning(torch.compile(inner, backend="eager"))
    assert engine.scope == ("0.weight",)
    with pytest.warns(UserWarning, match=rf"'1.weight' is computed by {by}.* not in the default"):
        engine.attach()


def test_a_scope_that_was_chosen_needs_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pruning(net(parametrizations.orthogonal), params="0").attach()
