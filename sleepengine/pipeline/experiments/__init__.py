"""The experiments: which networks are trained in which order, and what is written of them."""
