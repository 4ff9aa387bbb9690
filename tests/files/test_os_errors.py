from __future__ import annotations

import pytest

from showtell.files.os_errors import error_reason


class SilentError(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (PermissionError(13, "Permission denied"), "permission denied"),
        (PermissionError(13, "Permission denied", "photo.jpg"), "permission denied"),
        (OSError("the copy differs"), "the copy differs"),
        (OSError(), "OSError"),
        (RuntimeError("403\n  Forbidden: Bucket"), "403 Forbidden: Bucket"),
        (SilentError(), "SilentError"),
        (RuntimeError("x" * 500), "x" * 160),
    ],
)
def test_reason_is_one_short_line(error: Exception, reason: str) -> None:
    assert error_reason(error) == reason
