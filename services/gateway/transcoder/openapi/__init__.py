"""OpenAPI 3.1 of what a transcoder serves, from the same compiled routes."""

from services.gateway.transcoder.openapi.document import About, openapi_document, openapi_json

__all__ = ["About", "openapi_document", "openapi_json"]
