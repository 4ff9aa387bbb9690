"""Metadata in photos and sidecars: XMP, IPTC and EXIF, read and written."""
