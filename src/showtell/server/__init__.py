"""The web page and the REST API around the captioner (`showtell serve`)."""
