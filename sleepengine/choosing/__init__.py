"""Who is chosen: units, pools, shares, amounts and the one `choose`."""

from sleepengine.choosing.amount import Amount, Tally, nearest
from sleepengine.choosing.amounts import below, by, count, rate, to
from sleepengine.choosing.budgets import Budget, Prices, to_flops, to_parameters
from sleepengine.choosing.choose import Chosen, choose
from sleepengine.choosing.mean_score import MeanScore
from sleepengine.choosing.n_of_m import NofM
from sleepengine.choosing.pools import Global, PerRow, PerTensor, Pools
from sleepengine.choosing.reductions import Max, Mean, Norm, Reduction, Total
from sleepengine.choosing.select import lowest, pick_lowest
from sleepengine.choosing.shares import ER, ERK, Carry, Factors, Shares, Uniform
from sleepengine.choosing.units import Blocks, Columns, Rows, Units, Weights

AMOUNTS = (to, by, count, rate, below, to_parameters, to_flops)
"""Every function that makes an amount."""

__all__ = [
    "AMOUNTS",
    "ER",
    "ERK",
    "Amount",
    "Blocks",
    "Budget",
    "Carry",
    "Chosen",
    "Columns",
    "Factors",
    "Global",
    "Max",
    "Mean",
    "MeanScore",
    "NofM",
    "Norm",
    "PerRow",
    "PerTensor",
    "Pools",
    "Prices",
    "Reduction",
    "Rows",
    "Shares",
    "Total",
    "Tally",
    "Uniform",
    "Units",
    "Weights",
    "below",
    "by",
    "choose",
    "count",
    "lowest",
    "nearest",
    "pick_lowest",
    "rate",
    "to",
    "to_flops",
    "to_parameters",
]
