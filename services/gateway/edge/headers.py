"""Headers that every answer carries, errors and refusals of the parser included."""

from multidict import CIMultiDict

# RFC 9110 allows leaving the product out; naming it would tell attackers which holes to try.
SERVER = "gateway"

_ALWAYS = {
    "Server": SERVER,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=()",
    "Strict-Transport-Security": "max-age=63072000; includeSubDomains",
    "X-Frame-Options": "DENY",
}
# What a route may say differently: pages bring their own policy, backends may allow caching.
_DEFAULT = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


def secure(headers: CIMultiDict[str]) -> None:
    """Add what every answer carries to *headers*."""
    headers.update(_ALWAYS)
    for name, value in _DEFAULT.items():
        headers.setdefault(name, value)
