"""The mean contribution of nodes that start again goes into the biases of their readers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from saliency import InputMeans, Scorer
from sleepengine.errors import SetupError
from sleepengine.masks.choice import Choice
from sleepengine.nodes.node_masks import NodeMasks
from sleepengine.nodes.sides import Side
from sleepengine.nodes.units import Nodes
from sleepengine.rules.rule import Rule


def check_transfer(rule: Rule) -> None:
    """The rule chooses nodes by a scorer that remembers mean inputs of what reads them.

    Raises:
        SetupError: it does not.
    """
    who = rule.who
    scorer = None if who is None else who.scorer
    nodes = who is not None and isinstance(who.units, Nodes) and who.units.over is Side.OUTGOING
    if not nodes or not isinstance(scorer, InputMeans) or not scorer.knows_means:
        raise SetupError(
            f"rule {rule.name!r}: {rule.what!r} moves the mean contribution of nodes into biases, "
            "which takes Who(Utility(means=True), Nodes(over=Side.OUTGOING), ...)"
        )


def gains(
    scorer: Scorer | None, nodes: NodeMasks, chosen: Choice, weights: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """b_r += sum over the entries (r, j) of chosen nodes j of w_rj mean(x_j); name of bias -> gain.

    A reader's rows are dimension 0 of its weight; where they are not (a transposed convolution),
    where there is no bias, or where nothing was observed yet, nothing is gained.
    """
    means = scorer.mean_inputs() if isinstance(scorer, InputMeans) else {}
    slices = [one for g in nodes.groups.values() for one in g.slices(Side.OUTGOING)]
    turned = {one.param for one in slices if one.dim == 0}
    found: dict[str, Tensor] = {}
    with torch.no_grad():
        for name, mask in nodes.entries(chosen, Side.OUTGOING).masks.items():
            bias = name.removesuffix("weight") + "bias" if name.endswith("weight") else ""
            if name in turned or name not in means or bias not in weights or not bool(mask.any()):
                continue
            weight, mean = weights[name], means[name]
            lost = (weight * mean.to(weight.device, weight.dtype)).masked_fill(~mask, 0)
            gain = lost.flatten(1).sum(1)
            if gain.shape == weights[bias].shape:
                found[bias] = gain
    return found
