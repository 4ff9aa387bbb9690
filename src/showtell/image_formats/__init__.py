"""What Pillow does not read as it should: kinds of TIFF, colour profiles, odd files."""
