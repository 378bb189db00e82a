"""What is asked of a problem: a frozen object that turns it into tensors by parameter name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from saliency.problem import Problem


class CurvatureRequest(ABC):
    """request(problem) -> tensors by parameter name; the problem stays as it is.

    A scorer that needs "curvature" holds one as its attribute `curvature`; whoever gathers
    signals calls it and hands the result to the scorer as `signals.curvature`.

    Attributes:
        live_mode: True: the model is asked in the mode that it is in, as it trains. False: in
            eval mode, without dropout and with the running statistics of normalisations.
    """

    live_mode: bool = False

    @abstractmethod
    def __call__(self, problem: Problem) -> dict[str, Tensor]:
        """The quantity, under the names of `problem.params`."""

    def check(self, model: nn.Module, params: Mapping[str, Tensor]) -> None:
        """Whether it can be had of these parameters; asked before training, nothing is run.

        Raises:
            ValueError: It would not fit in memory (the message names the size that does).
            TypeError: A parameter is of a layer that the quantity is not defined for.
        """
        return None


class DiagonalRequest(CurvatureRequest):
    """A request for one number per weight, in the weight's shape.

    Sleeping weights have a curvature too. It is that of the loss of the live network.
    """


def check_request(owner: str, argument: str, value: object, kind: type) -> None:
    """Raise TypeError unless `value` is a request of this kind.

    >>> check_request("OBD", "curvature", 3, DiagonalRequest)
    Traceback (most recent call last):
    TypeError: OBD(curvature=3): curvature must be a DiagonalRequest.
    """
    if isinstance(value, kind):
        return
    if isinstance(value, type) and issubclass(value, kind):
        raise TypeError(
            f"{owner}({argument}={value.__name__}): {argument} must be a {kind.__name__}, not its "
            f"class. Did you mean {value.__name__}()?"
        )
    raise TypeError(f"{owner}({argument}={value!r}): {argument} must be a {kind.__name__}.")


def finite(what: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, or ValueError that names the first one with a NaN or an infinity.

    >>> finite("HessianDiagonal()", {"w": torch.tensor([1.0, float("nan")])})
    Traceback (most recent call last):
    ValueError: HessianDiagonal(): 1 of 2 entries for 'w' are not finite. Look at the loss of \
the batches and at the weights.
    """
    for name, tensor in tensors.items():
        # A sum tells in one pass that all is well.
        fine = bool(tensor.sum(dtype=torch.float64).isfinite())
        bad = 0 if fine else int(tensor.numel() - tensor.isfinite().sum())
        if bad:
            raise ValueError(
                f"{what}: {bad} of {tensor.numel()} entries for {name!r} are not finite. "
                "Look at the loss of the batches and at the weights."
            )
    return dict(tensors)


def positive_int(owner: str, argument: str, value: object) -> None:
    """Raise unless `value` is an int of 1 or more.

    >>> positive_int("Hutchinson", "probes", 0)
    Traceback (most recent call last):
    ValueError: Hutchinson(probes=0): probes must be 1 or more.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{owner}({argument}={value!r}): {argument} must be an int.")
    if value < 1:
        raise ValueError(f"{owner}({argument}={value!r}): {argument} must be 1 or more.")
