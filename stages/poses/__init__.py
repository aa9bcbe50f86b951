"""The pose stage's own parts: sessions, detector, estimator, following, filters, drawing, JSON.

`detector` and `estimator` import rtmlib at their top: import them only where a model is opened. The others are light.
"""
