"""What may happen, when and to whom: rules, filters, the clock and the events that users hear."""
