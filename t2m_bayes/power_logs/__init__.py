"""Logs of power sensors: tegrastats, nvidia-smi and jtop."""

from t2m_bayes.power_logs.log import Options, PowerLog, load_power_log

__all__ = ["Options", "PowerLog", "load_power_log"]
