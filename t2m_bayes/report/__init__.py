"""A report of a fit as one page: what was measured, whether to trust it, and what it predicts.

Everything is inside the file (styles, script, pictures, posterior draws), so it can be mailed and
opened years later without a network.
"""

from __future__ import annotations

from t2m_bayes.report.page import render, write

__all__ = ["render", "write"]
