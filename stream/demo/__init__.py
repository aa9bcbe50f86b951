"""A synthetic skate clip whose masks and joints are known, for the demo, the tests and the training."""
