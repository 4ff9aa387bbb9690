"""Settings of the word detector (`showtell.nets.word_detector`)."""

from __future__ import annotations

from dataclasses import dataclass, field

from showtell.errors import RecipeError
from showtell.files.typed_settings import check_limits


@dataclass(frozen=True)
class DetectorSettings:
    """The object network: timm's name and the pixels of its square input.

    `words` is the number of words that are detected: the first real words of the vocabulary. The
    first `caption_words` of them are detected by the two concept heads too.
    """

    network: str = "tf_efficientnet_lite2"
    size: int = field(default=224, metadata={"ge": 32})
    words: int = field(default=1, metadata={"ge": 1})
    caption_words: int = field(default=1, metadata={"ge": 1})

    def __post_init__(self) -> None:
        check_limits(self, RecipeError)
        if self.caption_words > self.words:
            raise RecipeError(f"caption_words: must be at most words ({self.words})")
