"""Predict an LLM that never ran on the device: from its size alone, with the band that deserves.

python examples/llm_never_run.py
"""

import t2m_bayes

fit = t2m_bayes.reference_fit()
for params_b in (3.1, 7.6, 14.77):
    unseen = t2m_bayes.predict(
        fit, "some-new-llm", input_tokens=256, output_tokens=128, params_b=params_b
    )
    lower, upper = unseen.interval(0.9)["total_s"][0]
    print(f"{params_b:5.2f} B parameters: {lower:5.1f} to {upper:5.1f} s")

known = t2m_bayes.predict(fit, "14B", input_tokens=256, output_tokens=128)
lower, upper = known.interval(0.9)["total_s"][0]
print(f"14B, measured on this device: {lower:5.1f} to {upper:5.1f} s")
print(unseen.warnings[0])
