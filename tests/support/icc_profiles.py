"""Small colour profiles (ICC version 2), built from their numbers."""

from __future__ import annotations

import itertools
import struct

import numpy as np

# red, green and blue of a colour space in XYZ, adapted to D50
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
DISPLAY_P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407))
ADOBE_GAMMA = 2.19921875


def rgb_profile(colorants: tuple[tuple[float, ...], ...], gamma: float | None) -> bytes:
    """Return a profile of a display; the tone curve of sRGB without a gamma."""
    curve = _gamma(gamma) if gamma else _srgb_curve()
    tags = {f"{name}XYZ": _xyz(*colour) for name, colour in zip("rgb", colorants, strict=True)}
    return _profile("mntr", "RGB ", "XYZ ", tags | {f"{name}TRC": curve for name in "rgb"})


def grey_profile(gamma: float) -> bytes:
    return _profile("mntr", "GRAY", "XYZ ", {"kTRC": _gamma(gamma)})


def cmyk_profile(cyan_ink: tuple[float, float, float]) -> bytes:
    """Return a profile of a press: white paper, an ink of the given CIELAB, black for the rest."""
    table = b""
    for inks in itertools.product((0, 1), repeat=4):
        lightness, a, b = {0: (100, 0, 0), 1: cyan_ink}[inks[0]] if not any(inks[1:]) else (0, 0, 0)
        table += struct.pack(
            ">3H", round(lightness * 652.8), *(round(256 * (v + 128)) for v in (a, b))
        )
    ramp = struct.pack(">2H", 0, 65535)
    identity = b"".join(struct.pack(">i", 65536 * (place % 4 == 0)) for place in range(9))
    lut = b"mft2" + bytes(4) + bytes([4, 3, 2, 0]) + identity + struct.pack(">2H", 2, 2)
    return _profile("prtr", "CMYK", "Lab ", {"A2B0": lut + 4 * ramp + table + 3 * ramp})


def to_profile(
    srgb: np.ndarray, colorants: tuple[tuple[float, ...], ...], gamma: float
) -> np.ndarray:
    """Return uint8 sRGB colours [..., 3] as the values of another colour space, without lcms."""
    shares = srgb / 255.0
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    xyz = linear @ np.array(SRGB)
    values = np.clip(xyz @ np.linalg.inv(np.array(colorants)), 0, 1) ** (1 / gamma)
    return np.round(values * 255).astype(np.uint8)


def _profile(kind: str, colours: str, connection: str, tags: dict[str, bytes]) -> bytes:
    tags = {"wtpt": _xyz(0.9642, 1, 0.8249), **tags}
    offset = 128 + 4 + 12 * len(tags)
    table, data = struct.pack(">L", len(tags)), b""
    for name, value in tags.items():
        table += struct.pack(">4sLL", name.encode(), offset + len(data), len(value))
        data += value + bytes(-len(value) % 4)
    header = struct.pack(">L4sL", offset + len(data), b"lcms", 0x02400000)
    header += f"{kind}{colours}{connection}".encode() + struct.pack(">6H", 2026, 1, 1, 0, 0, 0)
    header += b"acsp" + bytes(28) + _xyz(0.9642, 1, 0.8249)[8:]
    return header.ljust(128, b"\0") + table + data


def _xyz(*values: float) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(65536 * value) for value in values))


def _gamma(gamma: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">LH", 1, round(256 * gamma))


def _srgb_curve() -> bytes:
    shares = np.linspace(0, 1, 1024)
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    return b"curv" + struct.pack(">LL", 0, 1024) + np.round(linear * 65535).astype(">u2").tobytes()
