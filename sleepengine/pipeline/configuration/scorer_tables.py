"""The names of scorers, and of what their arguments may be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import saliency
from saliency import (
    KFAC,
    BatchGradients,
    DiagonalRequest,
    FisherDiagonal,
    GaussNewtonColumns,
    GaussNewtonDiagonal,
    HessianDiagonal,
    HessianGradient,
    Hutchinson,
    InverseFisher,
    InverseHessian,
    InverseRequest,
    KFACDiagonal,
    Rows,
    SampleGradients,
    Scale,
    Woodbury,
)
from sleepengine.pipeline.configuration.entries import Kind, by_name

SCORERS = by_name(
    "scorer",
    (
        saliency.Magnitude,
        saliency.Random,
        saliency.Gradient,
        saliency.GradientChange,
        saliency.Taylor,
        saliency.Snip,
        saliency.GraSP,
        saliency.SynFlow,
        saliency.Movement,
        saliency.SoftMovement,
        saliency.Momentum,
        saliency.FirstMoment,
        saliency.AnchorMagnitude,
        saliency.MagnitudeIncrease,
        saliency.StdThreshold,
        saliency.Fisher,
        saliency.OBD,
        saliency.SecondOrderTaylor,
        saliency.OBS,
        saliency.SequentialOBS,
        saliency.CombinatorialOBS,
        saliency.ExactOBS,
        saliency.SparseGPT,
        saliency.Wanda,
        saliency.MeanActivation,
        saliency.ActivationVariance,
        saliency.APoZ,
        saliency.Dormancy,
        saliency.Utility,
        saliency.Lamp,
        saliency.Normalized,
        saliency.Smoothed,
        saliency.Sum,
    ),
)
SCALES = by_name(
    "scale", (saliency.MeanScale, saliency.SumScale, saliency.MaxScale, saliency.StdScale)
)
DIAGONALS = by_name(
    "curvature diagonal",
    (HessianDiagonal, GaussNewtonDiagonal, FisherDiagonal, Hutchinson, KFACDiagonal),
)
INVERSES = by_name("inverse curvature", (InverseFisher, InverseHessian, Woodbury))
DENSE_INVERSES = by_name("dense inverse", (InverseFisher, InverseHessian))
ROWS = by_name("rows", (SampleGradients, BatchGradients, GaussNewtonColumns))
GRADIENT_ROWS = by_name("gradient rows", (SampleGradients, BatchGradients))

SCORER_KINDS: Mapping[Any, Kind] = {
    Scale: SCALES,
    DiagonalRequest: DIAGONALS,
    FisherDiagonal: by_name("Fisher diagonal", (FisherDiagonal,)),
    HessianGradient: by_name("Hessian times gradient", (HessianGradient,)),
    KFAC: by_name("Kronecker factors", (KFAC,)),
    InverseRequest: INVERSES,
    InverseFisher: DENSE_INVERSES,
    InverseHessian: DENSE_INVERSES,
    Rows: ROWS,
    SampleGradients: GRADIENT_ROWS,
    BatchGradients: GRADIENT_ROWS,
    GaussNewtonColumns: by_name("Gauss-Newton rows", (GaussNewtonColumns,)),
}
"""The type of an argument -> the names that may stand there."""
