"""How sleep holds while an optimizer trains: masked gradients, cared-for state, repaired weights."""
