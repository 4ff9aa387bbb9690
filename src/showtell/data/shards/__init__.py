"""Shards: a captioned dataset as a few large tar files, written, indexed and read."""
