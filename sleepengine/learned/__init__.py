"""Masks learned on a frozen network: logits train, weights and buffers keep every bit."""
