"""The gateway's own certificate: TLS 1.2 and later, read again when its files change."""

import logging
import ssl
from dataclasses import dataclass
from pathlib import Path

from services.gateway.settings import GatewaySettings
from services.mesh.config import BadSettings

log = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0

Seen = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Certificates:
    """Where the certificate chain, its key and the CA of clients lie; without the last, clients need no certificate."""

    chain: Path
    key: Path
    client_ca: Path | None

    @classmethod
    def open(cls, settings: GatewaySettings) -> "Certificates | None":
        """Return what the settings name, None for plain HTTP; raises ``BadSettings`` for half of it."""
        chain, key = settings.tls_cert, settings.tls_key
        if chain is None and key is None and settings.tls_client_ca is None:
            return None
        if chain is None or key is None:
            raise BadSettings("TLS needs both MEMORYBOX_GATEWAY_TLS_CERT and MEMORYBOX_GATEWAY_TLS_KEY")
        return cls(chain, key, settings.tls_client_ca)

    def context(self) -> ssl.SSLContext:
        """Return a context made of the files as they are now, or raise ``BadSettings``; reads from disk."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self.chain, self.key)
            if self.client_ca is not None:
                context.load_verify_locations(self.client_ca)
                context.verify_mode = ssl.CERT_REQUIRED
        except OSError as error:  # ssl.SSLError is one
            files = ", ".join(str(path) for path in (self.chain, self.key, self.client_ca) if path is not None)
            raise BadSettings(f"TLS cannot be served from {files}: {error.strerror or error}") from error
        return context

    def seen(self) -> Seen:
        """Return what tells whether a file was written or replaced; files that are gone count as unchanged later."""
        states = []
        for path in (self.chain, self.key, self.client_ca):
            if path is None:
                continue
            try:
                state = path.stat()
            except OSError:
                states.append((0, 0, 0))
            else:
                states.append((state.st_ino, state.st_mtime_ns, state.st_size))
        return tuple(states)
