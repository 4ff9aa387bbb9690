"""Metadata in photos and sidecars: read XMP, IPTC and EXIF; set XMP; embed with exiftool."""
