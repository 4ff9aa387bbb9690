"""A photo library: a searchable catalogue of captions, which can be written to the photos.

`scan` fills the catalogue, `catalogue.search` and `similar` find photos, `write` puts captions
into XMP sidecars or into the photos, and `undo` reverts that. All of it works with the light
install.
"""
