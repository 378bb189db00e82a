"""Files: a checked container for state, a strict reader for YAML."""
