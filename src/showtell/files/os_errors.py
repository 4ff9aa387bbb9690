"""One wording for errors of the operating system and of remote file systems."""

from __future__ import annotations

_LONGEST = 160  # characters of a remote file system's message


def error_reason(error: BaseException) -> str:
    """Return why an operation failed, on one line, such as `permission denied`.

    An OSError gives the system's own words, the first in lower case. Any other error gives its
    text, cut to 160 characters, or its type where it has no text.
    """
    strerror = getattr(error, "strerror", None)
    if isinstance(strerror, str) and strerror:
        text = " ".join(strerror.split())
        return text[:1].lower() + text[1:]
    return " ".join(str(error).split())[:_LONGEST] or type(error).__name__
