"""A photo library: a catalogue that is searched, and words that stay with the photos.

`scan` fills the catalogue, `search` and `like` find photos in it, `write` puts words into XMP
sidecars or into the photos themselves, `undo` takes them back. Light install only; `exiftool`
is needed for embedding alone.
"""
