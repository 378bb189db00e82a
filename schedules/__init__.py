"""When, how much, and what time it is: triggers, curves, clocks."""
