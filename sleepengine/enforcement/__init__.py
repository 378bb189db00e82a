"""How sleep holds while an optimizer trains: masked gradients, kept state, repaired weights."""
