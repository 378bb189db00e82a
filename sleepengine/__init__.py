"""Weights and nodes fall asleep, wake, freeze and reset around an unmodified training loop."""
