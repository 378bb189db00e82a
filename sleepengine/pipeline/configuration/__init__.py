"""From YAML to a configuration that has been checked: names, types, places of mistakes."""
