"""What happens to the chosen: sleep, wake, freeze, thaw, reset, rewind."""
