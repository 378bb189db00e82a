"""The engine: its set-up, the order of things around each step, its saved state."""
