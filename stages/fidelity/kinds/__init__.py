"""The metrics, a file a kind. Every module here has `METRICS`; nothing else names them."""
