"""Networks in PyTorch: CNN encoders, LSTM decoders, and the model of both."""
