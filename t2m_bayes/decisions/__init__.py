"""Answers to the questions behind a prediction."""
