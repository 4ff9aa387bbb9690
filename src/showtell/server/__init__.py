"""The web page and the REST API of `showtell serve`; not a public Python API."""
