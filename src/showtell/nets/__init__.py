"""The networks: CNN encoders, LSTM decoders, and the model that joins them (needs torch)."""
