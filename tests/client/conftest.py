"""The service fixtures, for the tests of this folder."""

from support.service_fixtures import keyed_service, service, tiny_model, unused_url

__all__ = ["keyed_service", "service", "tiny_model", "unused_url"]
