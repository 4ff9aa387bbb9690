"""Detected words for captions without a photo, with the mistakes that a detector makes.

A decoder that learns to trust the words of a caption as if they were detected without mistakes
would trust a real detector too much. Here the log-likelihood ratio of a word, between photos whose
captions contain it and others, is normal with the variance d² and the means d²/2 and -d²/2. The
probability of a word is then calibrated for every separation d: of the words with a probability of
0.3, three in ten are in the captions.

Training on text with the sentence's own concepts follows Venugopalan et al., Captioning Images
with Diverse Objects, 2017, and Feng et al., Unsupervised Image Captioning, 2019.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# Separations by the words' origin: those measured on Flickr8k's dev photos for the words of
# captions, without and with object classes; a good classifier's for words of the classes alone.
CAPTION_WORDS, CAPTION_AND_OBJECT_WORDS, OBJECT_WORDS = 1.8, 2.2, 3.5
_SURE = 0.4  # share of captions from which on a word counts as being in the photo
_LEAST, _MOST = -9.0, 6.0  # limits of a logit


def simulate_detection(
    shares: Floats, frequency: Floats, separation: Floats, random: np.random.Generator
) -> Floats:
    """Return logits as if a detector had seen the photos of these captions, [photos, words].

    `shares` [photos, words] is the share of a photo's captions that contain each word, `frequency`
    [words] its frequency in captions, `separation` [words] how well it is detected. A word in few
    captions of a photo counts as present half of the time.
    """
    present = (shares >= _SURE) | ((shares > 0) & (random.random(shares.shape) < 0.5))
    prior = np.log(frequency / (1 - frequency))
    mean = np.where(present, 0.5, -0.5) * separation**2
    noise = separation * random.standard_normal(shares.shape)
    logits: Floats = np.clip(prior + mean + noise, _LEAST, _MOST).astype(np.float32)
    return logits
