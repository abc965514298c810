"""Exports a model package to ONNX, and runs what was exported with ONNX Runtime."""
