"""Captions with everything in them that tokenizers and scorers stumble over."""

from __future__ import annotations

SAID = [
    "a dog runs through the grass",
    "Two men's bikes lean against a brick wall .",
    "a girl in a pink dress is climbing the stairs",
    "the boy can't find his red-and-white ball!",
    "",
    'a sign says "no parking" (on Sundays), $5.00',
    "a café with naïve tourists drinking tea",
    "dogs",
    "a man | a plan ||| a canal",
    "people are sitting at a table , eating .",
    "... !!",
    "a black and white dog jumps over a fence",
]
REFERENCES = [
    ["A brown dog is running outside .", "The dog runs in the grass .", "A dog on a lawn"],
    ["Two bicycles are leaning on a wall .", "Men's bikes near bricks ."],
    [
        "A child in a pink dress is climbing up a set of stairs in an entry way .",
        "A girl going into a wooden building .",
        "A little girl climbing into a wooden playhouse .",
        "A little girl climbing the stairs to her playhouse .",
        "A little girl in a pink dress going into a wooden cabin .",
    ],
    ["The boy cannot find the ball.", "A boy doesn't see his red-and-white ball"],
    ["A cat sleeps .", "A cat is asleep on a sofa ."],
    ["A 'no parking' sign", "The sign reads: `no parking` -- on Sundays"],
    ["Tourists at a cafe drink tea .", "Some people drinking at a café"],
    ["Three dogs .", "dogs"],
    ["A man with a plan for a canal .", "a man ||| a canal"],
    ["People sit at a table and eat .", "A group having dinner", "Friends are eating ."],
    ["A horse in a field .", "..."],
    ["a black and white dog jumps over a fence", "A dog leaps over the hurdle ."],
]
