"""How much each weight is worth: saliency scorers."""

from saliency.activation_requests import (
    ActivationRequest,
    InputGram,
    InputMoment,
    OutputMagnitude,
    OutputMoments,
    OutputZeros,
)
from saliency.activations import gather
from saliency.anchored import AnchorMagnitude, MagnitudeIncrease
from saliency.checks import BrokenContract, check_scorer
from saliency.compensating import CompensatingScorer
from saliency.counter_random import counter_uniform
from saliency.exact_obs import ExactOBS
from saliency.example_signals import example_signals
from saliency.gradient import Gradient
from saliency.gradient_change import GradientChange
from saliency.grasp import GraSP, HessianGradient
from saliency.lamp import Lamp
from saliency.magnitude import Magnitude, StdThreshold
from saliency.momentum import FirstMoment, Momentum
from saliency.movement import Movement
from saliency.normalized import MaxScale, MeanScale, Normalized, Scale, StdScale, SumScale
from saliency.random_scores import Random
from saliency.scorer import Scorer
from saliency.signals import NEEDS, MissingSignal, Signals
from saliency.smoothed import Smoothed
from saliency.soft_movement import SoftMovement
from saliency.sparse_gpt import SparseGPT
from saliency.sums import Sum
from saliency.synflow import SynapticFlow, SynFlow, synaptic_flow_steps
from saliency.taylor import Snip, Taylor
from saliency.unit_activity import ActivationVariance, APoZ, MeanActivation
from saliency.wanda import Wanda
from saliency.wrapper import Wrapper

__all__ = [
    "APoZ",
    "ActivationRequest",
    "ActivationVariance",
    "AnchorMagnitude",
    "BrokenContract",
    "CompensatingScorer",
    "ExactOBS",
    "FirstMoment",
    "GraSP",
    "Gradient",
    "GradientChange",
    "HessianGradient",
    "InputGram",
    "InputMoment",
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
    "Normalized",
    "OutputMagnitude",
    "OutputMoments",
    "OutputZeros",
    "Random",
    "Scale",
    "Scorer",
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
    "Wrapper",
    "check_scorer",
    "counter_uniform",
    "example_signals",
    "gather",
    "synaptic_flow_steps",
]
