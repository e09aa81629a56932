"""Predict from the fit that ships with the package: no data, no sampling.

python examples/predict_now.py
"""

import t2m_bayes

fit = t2m_bayes.reference_fit()
prediction = t2m_bayes.predict(fit, "8B", input_tokens=[128, 512, 2048], output_tokens=200)

print(prediction.to_frame(prob=0.9).round(3).to_string(index=False))

# A deadline is a question to the draws: how likely is an answer within 21 seconds?
total_s = prediction.draws["total_s"]
print("chance of an answer within 21 s:", (total_s < 21).mean(axis=(0, 1)).round(3))
