"""Where work runs: launchers of a sweep's jobs, worker processes of one run, torchrun, signals."""
