"""Export: a training run to a bundle of ONNX graphs, checked against PyTorch."""
