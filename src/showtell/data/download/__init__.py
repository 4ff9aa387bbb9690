"""`showtell data download`: fetch published datasets and check their archives."""
