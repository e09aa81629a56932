"""Read run data in any of its three formats into one validated run table."""

from t2m_bayes.loading.formats import load, load_runs, load_server_excel, load_tegra_csv
from t2m_bayes.loading.report import as_dict, report_text

__all__ = ["as_dict", "load", "load_runs", "load_server_excel", "load_tegra_csv", "report_text"]
