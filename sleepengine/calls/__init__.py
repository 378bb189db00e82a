"""What users call on one layer, one node or the whole model, outside of any rule."""
