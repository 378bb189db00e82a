"""Reports: plots and one self-contained page per run."""
