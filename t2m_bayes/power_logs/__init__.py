"""Logs of power sensors (tegrastats, nvidia-smi, jtop), and requests joined to them."""

from t2m_bayes.power_logs.join import Joined, join_power_log
from t2m_bayes.power_logs.log import Options, PowerLog, load_power_log
from t2m_bayes.power_logs.report import joined_dict, joined_text, log_dict, log_text

__all__ = [
    "Joined",
    "Options",
    "PowerLog",
    "join_power_log",
    "joined_dict",
    "joined_text",
    "load_power_log",
    "log_dict",
    "log_text",
]
