"""How much each weight is worth: saliency scorers."""

from saliency.anchored import AnchorMagnitude, MagnitudeIncrease
from saliency.checks import BrokenContract, check_scorer
from saliency.counter_random import counter_uniform
from saliency.example_signals import example_signals
from saliency.gradient import Gradient
from saliency.gradient_change import GradientChange
from saliency.lamp import Lamp
from saliency.magnitude import Magnitude, StdThreshold
from saliency.momentum import FirstMoment, Momentum
from saliency.movement import Movement
from saliency.normalized import MaxScale, MeanScale, Normalized, Scale, StdScale, SumScale
from saliency.random_scores import Random
from saliency.scorer import Scorer
from saliency.signals import NEEDS, MissingSignal, Signals
from saliency.smoothed import Smoothed
from saliency.sums import Sum
from saliency.taylor import Snip, Taylor
from saliency.wrapper import Wrapper

__all__ = [
    "AnchorMagnitude",
    "BrokenContract",
    "FirstMoment",
    "Gradient",
    "GradientChange",
    "Lamp",
    "Magnitude",
    "MagnitudeIncrease",
    "MaxScale",
    "MeanScale",
    "MissingSignal",
    "Momentum",
    "Movement",
    "NEEDS",
    "Normalized",
    "Random",
    "Scale",
    "Scorer",
    "Signals",
    "Smoothed",
    "Snip",
    "StdScale",
    "StdThreshold",
    "Sum",
    "SumScale",
    "Taylor",
    "Wrapper",
    "check_scorer",
    "counter_uniform",
    "example_signals",
]
