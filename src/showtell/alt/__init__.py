"""Alternative text of the images in HTML, Markdown, reStructuredText, notebooks and templates.

`check` finds images whose alternative text is missing or wrong, `suggest` captions them, `write`
puts captions into the documents, and `undo` takes them out again.
"""
