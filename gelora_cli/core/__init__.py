"""What everything stands on: errors, artifacts, budgets, run directories, the machine."""
