"""salearn: semi-supervised and active learning for medical image segmentation (ground floor)."""

__version__ = "0.1.0"
