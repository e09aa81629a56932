"""Every estimator on the same splits of the same runs, scored alike."""
