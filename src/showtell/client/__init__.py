"""The Python client of the service that `showtell serve` runs."""

from __future__ import annotations

from showtell.client.client import Client, Options
from showtell.client.responses import Limits, PhotoRefusedError, ServedModel, ServiceError

__all__ = ["Client", "Limits", "Options", "PhotoRefusedError", "ServedModel", "ServiceError"]
