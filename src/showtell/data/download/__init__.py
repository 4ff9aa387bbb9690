"""`showtell data download`: what it fetches, from where, and how it is checked."""
