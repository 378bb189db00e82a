"""How much each weight is worth: saliency scorers."""

from saliency.activation_requests import (
    ActivationRequest,
    InputGram,
    InputMoment,
    OutputMagnitude,
    OutputMoments,
    OutputZeros,
)
from saliency.activation_watch import ActivationWatch
from saliency.activations import gather
from saliency.anchored import AnchorMagnitude, MagnitudeIncrease
from saliency.checks import BrokenContract, check_scorer
from saliency.combinatorial_obs import CombinatorialOBS
from saliency.compensating import CompensatingScorer
from saliency.counter_random import counter_uniform
from saliency.curvature.diagonals import FisherDiagonal, GaussNewtonDiagonal
from saliency.curvature.hessian_diagonal import HessianDiagonal
from saliency.curvature.hutchinson import Estimate, Hutchinson
from saliency.curvature.inverse import Inverse, InverseRequest
from saliency.curvature.inverse_fisher import InverseFisher
from saliency.curvature.inverse_hessian import InverseHessian
from saliency.curvature.kfac import KFAC, KFACDiagonal
from saliency.curvature.kronecker import KroneckerFactors
from saliency.curvature.products import hessian_vector_product
from saliency.curvature.request import CurvatureRequest, DiagonalRequest
from saliency.curvature.rows import BatchGradients, GaussNewtonColumns, Rows, SampleGradients
from saliency.curvature.woodbury import Woodbury
from saliency.dormancy import Dormancy
from saliency.exact_obs import ExactOBS
from saliency.example_signals import example_signals
from saliency.fisher import Fisher
from saliency.gradient import Gradient
from saliency.gradient_change import GradientChange
from saliency.grasp import GraSP, HessianGradient
from saliency.input_means import InputMeans
from saliency.input_statistics import InputDistance, InputMagnitude
from saliency.inverse_scorer import InverseScorer
from saliency.lamp import Lamp
from saliency.magnitude import Magnitude, StdThreshold
from saliency.momentum import FirstMoment, Momentum
from saliency.movement import Movement
from saliency.normalized import MaxScale, MeanScale, Normalized, Scale, StdScale, SumScale
from saliency.obd import OBD, Negative
from saliency.obs import OBS
from saliency.problem import Problem
from saliency.random_scores import Random
from saliency.scorer import Scorer
from saliency.second_order_taylor import SecondOrderTaylor
from saliency.sequential_obs import SequentialOBS
from saliency.signals import NEEDS, MissingSignal, Signals
from saliency.smoothed import Smoothed
from saliency.soft_movement import SoftMovement
from saliency.sparse_gpt import SparseGPT
from saliency.sums import Sum
from saliency.synflow import SynapticFlow, SynFlow, synaptic_flow_steps
from saliency.taylor import Snip, Taylor
from saliency.through import Through
from saliency.unit_activity import ActivationVariance, APoZ, MeanActivation
from saliency.utility import Utility
from saliency.wanda import Wanda
from saliency.wrapper import Wrapper

__all__ = [
    "Dormancy",
    "InputDistance",
    "InputMagnitude",
    "InputMeans",
    "Through",
    "Utility",
    "APoZ",
    "ActivationRequest",
    "ActivationVariance",
    "ActivationWatch",
    "AnchorMagnitude",
    "BatchGradients",
    "BrokenContract",
    "CombinatorialOBS",
    "CompensatingScorer",
    "CurvatureRequest",
    "DiagonalRequest",
    "Estimate",
    "ExactOBS",
    "FirstMoment",
    "Fisher",
    "FisherDiagonal",
    "GaussNewtonColumns",
    "GaussNewtonDiagonal",
    "GraSP",
    "Gradient",
    "GradientChange",
    "HessianDiagonal",
    "HessianGradient",
    "Hutchinson",
    "InputGram",
    "InputMoment",
    "Inverse",
    "InverseFisher",
    "InverseHessian",
    "InverseRequest",
    "InverseScorer",
    "KFAC",
    "KFACDiagonal",
    "KroneckerFactors",
    "Lamp",
    "Magnitude",
    "MagnitudeIncrease",
    "MaxScale",
    "MeanActivation",
    "MeanScale",
    "MissingSignal",
    "Momentum",
    "Movement",
    "NEEDS",
    "Negative",
    "Normalized",
    "OBD",
    "OBS",
    "OutputMagnitude",
    "OutputMoments",
    "OutputZeros",
    "Problem",
    "Random",
    "Rows",
    "SampleGradients",
    "Scale",
    "Scorer",
    "SecondOrderTaylor",
    "SequentialOBS",
    "Signals",
    "Smoothed",
    "Snip",
    "SoftMovement",
    "SparseGPT",
    "StdScale",
    "StdThreshold",
    "Sum",
    "SumScale",
    "SynFlow",
    "SynapticFlow",
    "Taylor",
    "Wanda",
    "Woodbury",
    "Wrapper",
    "check_scorer",
    "counter_uniform",
    "example_signals",
    "gather",
    "hessian_vector_product",
    "synaptic_flow_steps",
]
