"""Pipelines: YAML in, trained and reported runs out."""
