"""How much each weight is worth: saliency scorers."""
