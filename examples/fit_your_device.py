"""From files to a report: fit a server's Excel and a Jetson's CSVs, save, predict, and report.

    python examples/fit_your_device.py [--server FILE] [--tegra FOLDER] [--output DIR]

Without arguments it uses the simulated samples that ship with the package.
"""

import argparse
from pathlib import Path

import t2m_bayes
from t2m_bayes.loading import report_text
from t2m_bayes.report import render, write
from t2m_bayes.resources import shipped
from t2m_bayes.sampling import Sampling

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--server", type=Path, default=shipped("datasets") / "server")
parser.add_argument("--tegra", type=Path, default=shipped("datasets") / "tegra")
parser.add_argument("--output", type=Path, default=Path("outputs/my-device"))
parser.add_argument("--draws", type=int, default=1000)
parser.add_argument("--tune", type=int, default=600)
args = parser.parse_args()

runs = t2m_bayes.load(args.server, args.tegra)
print(report_text(runs))

fit = t2m_bayes.fit(runs, Sampling(draws=args.draws, tune=args.tune))
print(fit.provenance["diagnostics"]["verdict"])

folder = t2m_bayes.save(fit, args.output)
again = t2m_bayes.load_fit(folder)
prediction = t2m_bayes.predict(again, "8B", input_tokens=100, output_tokens=50)
lower, upper = prediction.interval(0.9)["total_s"][0]
print(f"8B, 100 tokens in, 50 out: {lower:.2f} to {upper:.2f} s with 90 % probability")

page = write(
    render(again, folder, runs=runs.frame[runs.frame["device"] == again.target_device]),
    folder / "report.html",
)
print(f"what was measured, whether to trust it, and a calculator: {page}")
