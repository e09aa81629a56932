"""``python -m t2m_bayes`` is ``t2m``."""

from t2m_bayes.cli import main

if __name__ == "__main__":
    main()
