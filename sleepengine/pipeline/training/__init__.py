"""One network in training: its parts, its loop, its evaluation, and how it is interrupted."""
