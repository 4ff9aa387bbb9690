"""A synthetic captioned dataset of drawn shapes, for tests and tutorials."""
