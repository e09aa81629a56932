"""Evidence for or against a fit, computed where the posterior, the model and the rows are at hand.

What a fit keeps of it, in ``Fit.evidence``, is plain JSON and holds no row of the data. ``reading``
is an observed variable of the model: ``prefill``, ``decode``.

========== =====================================================================================
``pit``    reading to LOO-PIT values, sorted, at most 1,000 of them, evenly spaced in rank
``cover``  reading to ``{"n", "nominal": [...], "share": [...]}``: share of readings inside the
           central interval of each nominal probability, by LOO-PIT
``loo``    reading to ``{"elpd", "se", "p", "n", "k_max", "k_high"}``
``ppc``    list of ``{"reading", "llm", "device", "n", "quantiles": [...], "observed": [...],
           "lower": [...], "upper": [...]}``: quantiles of log(reading / expected), as measured,
           and the 90 % band of what the model would have measured
``ranks``  variable to counts of ranks, a list of bins for each chain
``levels`` list of ``{"name", "kind", "label", "unit", "prior": [...], "posterior": [...]}`` with
           the 5, 25, 50, 75 and 95 % quantiles; ``kind`` is ``offset`` or ``slope``
========== =====================================================================================
"""
