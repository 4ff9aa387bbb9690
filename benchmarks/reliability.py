"""Draws a model's reliability diagram: the share of good captions by confidence.

The numbers are in the bundle's manifest, written by `showtell export`: confidence was fitted on
the first half of dev and measured on the second.

    python benchmarks/reliability.py --output docs/images/reliability.png [--model M]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from matplotlib.figure import Figure

from showtell.bundle import load_bundle
from showtell.bundle.registry import find_bundle


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()

    confidence = load_bundle(find_bundle(options.model)).manifest.confidence
    if confidence is None or confidence.dev_second_half is None:
        raise SystemExit("the model has no calibration: export it with --data")
    check = confidence.dev_second_half
    confidences = [item.confidence for item in check.reliability]
    good = [item.good for item in check.reliability]
    counts = [item.count for item in check.reliability]

    figure = Figure(figsize=(5.2, 5.6), layout="constrained")
    curve, bars = figure.subplots(2, 1, height_ratios=[4, 1], sharex=True)
    curve.plot([0, 1], [0, 1], color="0.7", linewidth=1, label="perfectly calibrated")
    curve.plot(confidences, good, marker="o", color="#1f5fbf", label="this model")
    curve.set(ylabel="share of captions that are good", xlim=(0, 1), ylim=(0, 1.02))
    curve.legend(frameon=False, loc="upper left")
    error = check.expected_calibration_error
    curve.set_title(
        f"dev, second half: {check.photos} photos, expected calibration error {error:.3f}",
        fontsize=10,
    )
    bars.bar(confidences, counts, width=0.06, color="#1f5fbf")
    bars.set(xlabel="confidence", ylabel="photos")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.output, dpi=130)
    print(f"{options.output}: good means {confidence.measure}")


if __name__ == "__main__":
    main()
