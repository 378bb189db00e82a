"""Which weights sleep: bits, mask stores, parked values, positions."""
