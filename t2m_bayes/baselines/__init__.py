"""Point regressors that people would use instead, with bands, behind the face of a fit."""
