"""Dormancy of nodes: how large they are for those who read them, next to their neighbours."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from saliency.activations import gather
from saliency.utility import InputMagnitude
from sleepengine.actions.live import Live
from sleepengine.errors import SetupError
from sleepengine.nodes.group import NodeGroup
from sleepengine.nodes.slices import gathered


def dormancy(live: Live, group: NodeGroup, batches: Iterable[Any]) -> Tensor:
    """d_i = mean |h_i| / mean over the nodes of the same; float64 (size,).

    h_i is what the readers of node i receive, after activation function and normalisation. A group
    whose every node is silent gets zeros.

    Raises:
        SetupError: nobody reads the nodes with weights, or the inputs of a reader cannot be seen.
    """
    slices = group.consumes
    if not slices:
        raise SetupError(f"nodes of {group.name!r} are read by no weights, so none is seen")
    params = {one.param: live.params[one.param] for one in slices}
    try:
        with live.whole():
            seen = gather(live.model, params, InputMagnitude(), batches)
            shapes = {name: parameter.shape for name, parameter in params.items()}
    except ValueError as fault:
        raise SetupError(f"dormancy of {group.name!r}: {fault}") from fault
    found = [seen[one.param].expand(shapes[one.param]) for one in slices]
    lines = gathered(slices, found, group.size)
    used = torch.stack([line.double().mean() for line in lines]).cpu()
    mean = used.mean()
    return used / mean if float(mean) > 0.0 else used
