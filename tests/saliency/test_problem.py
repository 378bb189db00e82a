"""Wrong use of problems and requests is answered with what is wrong and what to do."""

import pytest
import torch
from torch import nn

from saliency import (
    OBD,
    OBS,
    CombinatorialOBS,
    Fisher,
    FisherDiagonal,
    GaussNewtonDiagonal,
    HessianDiagonal,
    Hutchinson,
    InverseFisher,
    InverseHessian,
    Problem,
    SampleGradients,
    SecondOrderTaylor,
    SequentialOBS,
    Signals,
    Sum,
    Woodbury,
    hessian_vector_product,
)

LAYER = nn.Linear(2, 2)
PARAMS = dict(LAYER.named_parameters())
BATCH = (torch.ones(3, 2), torch.zeros(3, 2))
MSE = nn.MSELoss()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((LAYER, PARAMS, [BATCH]), ValueError, "neither of loss= and batch_loss="),
        ((LAYER, PARAMS, [BATCH], MSE, MSE), ValueError, "both of loss= and batch_loss="),
        ((LAYER, PARAMS, None, MSE), ValueError, "needs batches"),
        ((LAYER, PARAMS, iter([BATCH]), MSE), TypeError, "no iterator"),
        ((LAYER, PARAMS, 5, MSE), TypeError, "give a list or a DataLoader"),
        ((LAYER, {}, [BATCH], MSE), ValueError, "no parameter"),
        ((LAYER, {"wieght": LAYER.weight}, [BATCH], MSE), ValueError, "Did you mean 'weight'"),
        ((LAYER, {"weight": LAYER.bias}, [BATCH], MSE), ValueError, r"shape \(2,\), but"),
        ((MSE, PARAMS, [BATCH], MSE), ValueError, "the model has no parameter"),
        (("net", PARAMS, [BATCH], MSE), TypeError, "model must be"),
    ],
)
def test_construction(arguments, error, message):
    with pytest.raises(error, match=message):
        Problem(*arguments)


def exploding(output, target):
    return (output - target).square().mean() / 0.0


def concave(output, target):
    return -(output - target).square().mean()


@pytest.mark.parametrize(
    ("batches", "loss", "message"),
    [
        ([], MSE, "batches= gave no batch"),
        ([(torch.ones(0, 2), torch.ones(0, 2))], MSE, "holds no samples"),
        ([BATCH], exploding, "The loss of a batch is inf"),
        ([BATCH], nn.MSELoss(reduction="none"), r"must be one number.*got \(3, 2\)"),
        ([torch.ones(3, 2)], MSE, r"must be a pair \(input, target\)"),
        ([(torch.tensor(1.0), 2)], MSE, "no tensor with a dimension"),
    ],
)
@pytest.mark.parametrize(
    "request_",
    [
        HessianDiagonal(),
        Hutchinson(),
        FisherDiagonal(),
        GaussNewtonDiagonal(),
        InverseFisher(),
        InverseHessian(),
        Woodbury(),
    ],
)
def test_batches_and_losses(request_, batches, loss, message):
    with pytest.raises(ValueError, match=message):
        request_(Problem(LAYER, PARAMS, batches, loss))


def test_curvature_that_is_not_finite():
    # The square root's second derivative is infinite at 0, its value is not.
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)

    def root(output, target):
        return output.abs().sqrt().mean()

    problem = Problem(model, dict(model.named_parameters()), [(torch.ones(1, 1),) * 2], root)
    with pytest.raises(ValueError, match=r"HessianDiagonal.*1 of 1 entries for 'weight'"):
        HessianDiagonal()(problem)


def test_losses_that_gauss_newton_cannot_take():
    with pytest.raises(ValueError, match=r"not convex in the outputs.*HessianDiagonal"):
        GaussNewtonDiagonal()(Problem(LAYER, PARAMS, [BATCH], concave))
    whole = Problem(LAYER, PARAMS, [BATCH], batch_loss=lambda m, b: m(b[0]).square().mean())
    with pytest.raises(ValueError, match="give loss= of"):
        GaussNewtonDiagonal()(whole)
    with pytest.raises(ValueError, match=r"smallest eigenvalue is -.*Raise damping above"):
        InverseHessian()(Problem(LAYER, PARAMS, [BATCH], concave))


def test_the_damping_that_is_named_is_enough():
    problem = Problem(LAYER, PARAMS, [BATCH], concave)
    with pytest.raises(ValueError, match="Raise damping above") as caught:
        InverseHessian()(problem)
    named = float(str(caught.value).split("Raise damping above ")[1].split(", or")[0])
    InverseHessian(damping=named * 1.01)(problem)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (InverseFisher(memory=200), "Up to 5 weights fit dense; here block=8 or less fits"),
        (InverseHessian(memory=200), "Up to 5 weights fit dense; here block=8 or less fits"),
        (InverseFisher(block=50, memory=200), "memory= allows 200 B; block=8 or less fits"),
        (InverseFisher(block=2, memory=20), "give memory=24 for block=1"),
        (Woodbury(memory=200), "count=8 or less fits"),
    ],
)
def test_the_size_that_fits_is_named(request_, message):
    with pytest.raises(ValueError, match=message):
        request_(Problem(LAYER, PARAMS, [BATCH], MSE))


def test_the_block_that_is_named_does_fit():
    InverseFisher(block=8, memory=200)(Problem(LAYER, PARAMS, [BATCH], MSE))


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: HessianDiagonal(chunk=0), ValueError, "chunk must be 1 or more"),
        (lambda: Hutchinson(probes=1), ValueError, "2 or more"),
        (lambda: Hutchinson(probes=2.0), TypeError, "probes must be an int"),
        (lambda: InverseFisher(damping=0), ValueError, "damping must be above 0"),
        (lambda: InverseFisher(damping="1"), TypeError, "must be a number"),
        (lambda: InverseHessian(damping=-1), ValueError, "0 or more"),
        (lambda: InverseFisher(block=0), ValueError, r"InverseFisher\(block=0\)"),
        (lambda: InverseFisher(rows=SampleGradients), TypeError, r"Did you mean SampleGradients\("),
        (lambda: Woodbury(count=0), ValueError, "count must be 1 or more"),
        (lambda: OBD("exact"), TypeError, "curvature must be a DiagonalRequest"),
        (lambda: OBD(HessianDiagonal), TypeError, r"Did you mean HessianDiagonal\(\)"),
        (lambda: OBD(negative="abs"), TypeError, "negative must be one of.*Negative.KEEP"),
        (lambda: OBD(InverseFisher()), TypeError, "must be a DiagonalRequest"),
        (lambda: Fisher(HessianDiagonal()), TypeError, "must be a FisherDiagonal"),
        (lambda: SecondOrderTaylor(absolute=1), TypeError, "must be True or False"),
        (lambda: OBS(HessianDiagonal()), TypeError, "must be a InverseRequest"),
        (lambda: SequentialOBS(Woodbury()), TypeError, "which keep the inverse itself"),
        (lambda: SequentialOBS(steps=0), ValueError, "steps must be 1 or more"),
        (lambda: CombinatorialOBS(fraction=1.0), ValueError, "0 <= fraction < 1"),
        (lambda: CombinatorialOBS(exchanges=-1), ValueError, "0 or more"),
        (lambda: Sum(OBD(), Fisher()), ValueError, "need different curvatures"),
    ],
)
def test_arguments(build, error, message):
    with pytest.raises(error, match=message):
        build()


def test_a_vector_of_another_shape():
    problem = Problem(LAYER, PARAMS, [BATCH], MSE)
    with pytest.raises(ValueError, match=r"the vector has the shapes \{'weight': \(2,\)\}"):
        hessian_vector_product(problem, {"weight": torch.ones(2)})


@pytest.mark.parametrize("scorer", [OBS(), OBS(InverseFisher(block=2)), OBS(Woodbury()), OBD()])
def test_curvature_of_other_weights(scorer):
    signals = Signals(weights={"w": torch.ones(3)}, curvature={"w": torch.ones(2, 2)})
    with pytest.raises(ValueError, match=r"the curvature of 'w' has shape \(2, 2\)"):
        scorer.score(signals)


def test_a_choice_that_does_not_fit():
    signals = Signals(weights={"w": torch.ones(2)}, curvature={"w": torch.eye(2)})
    with pytest.raises(ValueError, match="'v' was chosen, but is not among the weights"):
        OBS().compensate({"v": torch.ones(2).bool()}, signals)
    with pytest.raises(ValueError, match=r"torch.float32 of shape \(2,\); it must be bool"):
        OBS().compensate({"w": torch.ones(2)}, signals)


def test_scorers_share_one_curvature():
    both = Sum(OBD(), SecondOrderTaylor())
    assert both.curvature == HessianDiagonal()
    assert both.needs == {"weights", "grads", "curvature"}
