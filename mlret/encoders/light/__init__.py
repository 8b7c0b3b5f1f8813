"""Run encoders on a CPU with NumPy and onnxruntime alone: no module of this package imports torch."""
