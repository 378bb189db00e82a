"""From rules that are due to one net change: signals, choices, a transaction, undo."""
