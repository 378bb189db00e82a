"""Every method as a short list of rules: when, who, what.

Each recipe is a plain function that returns `tuple[Rule, ...]` for `SleepEngine(rules=...)`; its
docstring holds the table of its rules. Defaults are those of the papers, with times that a paper
gives in epochs of its own run turned into shares of the run. Change a recipe by writing its rules
out: they are all there is.
"""

from sleepengine.recipes.curvature import (
    fisher,
    grasp,
    obd,
    obs,
    obs_layerwise,
    synflow,
    wanda,
)
from sleepengine.recipes.dynamic import rigl, set_, snfs
from sleepengine.recipes.movement import movement, soft_movement
from sleepengine.recipes.nodes import (
    channel_gradual,
    continual_backprop,
    grow,
    head_sleep,
    neuron_gradual,
    redo,
)
from sleepengine.recipes.phases import acdc, dense_sparse_dense, prune_regrow
from sleepengine.recipes.pruning import (
    finetune_sparse,
    gradual,
    n_of_m,
    one_shot,
    random_pruning,
    snip,
)
from sleepengine.recipes.tasks import freeze, packnet
from sleepengine.recipes.tickets import lottery_ticket, lr_rewind

__all__ = [
    "acdc",
    "channel_gradual",
    "continual_backprop",
    "dense_sparse_dense",
    "finetune_sparse",
    "fisher",
    "freeze",
    "gradual",
    "grasp",
    "grow",
    "head_sleep",
    "lottery_ticket",
    "lr_rewind",
    "movement",
    "n_of_m",
    "neuron_gradual",
    "obd",
    "obs",
    "obs_layerwise",
    "one_shot",
    "packnet",
    "prune_regrow",
    "random_pruning",
    "redo",
    "rigl",
    "set_",
    "snfs",
    "snip",
    "soft_movement",
    "synflow",
    "wanda",
]
