"""Speed and memory, measured beside the peers and the limit of the machine: `make bench`.

One file per table; each yields `Figure`s. Ratios are of one process, paired and interleaved: base,
other, base, other, ..., and each turn is divided by the mean of the base's turns beside it.
"""
