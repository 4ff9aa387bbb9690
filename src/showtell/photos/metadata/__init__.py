"""Metadata in photos and sidecars: read XMP, IPTC and EXIF; set captions in XMP and IPTC."""
