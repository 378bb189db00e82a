"""Who is chosen: units, pools, shares, amounts and the one `choose`."""

from sleepengine.choosing.amount import Amount, Tally, nearest
from sleepengine.choosing.amounts import below, by, count, rate, to
from sleepengine.choosing.choose import Chosen, choose
from sleepengine.choosing.mean_score import MeanScore
from sleepengine.choosing.pools import Global, NofM, PerRow, PerTensor, Pools
from sleepengine.choosing.reductions import Max, Mean, Norm, Reduction, Total
from sleepengine.choosing.select import lowest, pick_lowest
from sleepengine.choosing.shares import ER, ERK, Carry, Factors, Shares, Uniform
from sleepengine.choosing.units import Blocks, Columns, Rows, Units, Weights

__all__ = [
    "ER",
    "ERK",
    "Amount",
    "Blocks",
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
]
