"""The catalogue of a photo library: one SQLite file, its tables and searches."""
