"""Keys that sign hop tokens: who has one, and what it may vouch for. Kept as files that are readable by their owner only.

``registry.json`` lists public keys with their grants and the deployment's id; ``private/<kid>.key`` holds one private key.
A process that only verifies needs the registry alone.
"""

import base64
import json
import secrets
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from services.mesh.errors import FailedPrecondition, NotFound
from services.mesh.files import locked, write_private

GATEWAY = "gateway"
ANY = "*"


class KeysMissing(FailedPrecondition):
    """There is no usable key; the message says which command makes one."""

    reason = "KEYS_MISSING"


class KeysDamaged(FailedPrecondition):
    """A key file cannot be read as one; the message names it."""

    reason = "KEYS_DAMAGED"


class KeyNotFound(NotFound):
    """No active key has this name."""

    reason = "KEY_NOT_FOUND"


@dataclass(frozen=True, slots=True)
class Grant:
    """What a key may vouch for; whatever is not named is denied.

    ``rpcs`` holds full method names ``/package.Service/Method``, or ``/package.Service/*``, or ``*``.
    ``users`` and ``roles`` with ``*`` count for the gateway's key only.
    """

    users: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    audiences: tuple[str, ...] = ()
    rpcs: tuple[str, ...] = ()

    def widened(self, other: "Grant") -> "Grant":
        """Return this grant with the audiences and RPCs of *other* as well; users and roles stay."""
        return replace(
            self,
            audiences=tuple(dict.fromkeys((*self.audiences, *other.audiences))),
            rpcs=tuple(dict.fromkeys((*self.rpcs, *other.rpcs))),
        )

    def allows_rpc(self, method: str) -> bool:
        """Say whether *method* is granted."""
        return ANY in self.rpcs or method in self.rpcs or f"{method.rpartition('/')[0]}/*" in self.rpcs


@dataclass(frozen=True, slots=True)
class Key:
    """A public key and its grant. ``kind`` is ``gateway``, ``service`` or ``client``."""

    kid: str
    name: str
    kind: str
    public: str  # base64url of the 32 bytes
    grant: Grant
    created_at: int  # seconds since 1970
    revoked_at: int | None = None

    @property
    def own_user(self) -> str:
        """The user that this key may always assert: itself."""
        return f"{self.kind}:{self.name}"

    def may_assert(self, user: str, roles: Iterable[str]) -> bool:
        """Say whether the grant covers *user* with *roles*."""
        everything = self.kind == GATEWAY
        user_granted = user == self.own_user or user in self.grant.users or (everything and ANY in self.grant.users)
        return user_granted and ((everything and ANY in self.grant.roles) or set(roles) <= set(self.grant.roles))

    def public_key(self) -> Ed25519PublicKey:
        """Return the key for verifying."""
        return Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(self.public + "=="))


@dataclass(frozen=True, slots=True)
class Registry:
    """All keys of one deployment."""

    deployment: str
    keys: tuple[Key, ...]

    def active(self, name: str) -> Key:
        """Return the newest unrevoked key called *name*, or raise ``KeyNotFound``."""
        for key in reversed(self.keys):
            if key.name == name and key.revoked_at is None:
                return key
        raise KeyNotFound(f"no active key is called {name!r}; `memorybox keys list` shows all", name=name)

    def by_kid(self, kid: str) -> Key | None:
        """Return the unrevoked key with this id."""
        return next((key for key in self.keys if key.kid == kid and key.revoked_at is None), None)


class KeyFolder:
    """The key files of one deployment; every change is atomic and seen by running processes within a second."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "registry.json"

    def stamp(self) -> tuple[int, int]:
        """Return a value that changes whenever the registry does; (0, 0) while there is none."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return (0, 0)
        return (status.st_mtime_ns, status.st_ino)

    def read(self) -> Registry:
        """Return the registry, or raise ``KeysMissing`` or ``KeysDamaged``."""
        try:
            return _registry_from_json(json.loads(self._path.read_bytes()))
        except FileNotFoundError:
            raise KeysMissing(f"no hop keys in {self._folder}; `memorybox up` makes them") from None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise KeysDamaged(f"{self._path} is damaged; restore it from a backup") from error

    def private_key(self, kid: str) -> Ed25519PrivateKey:
        """Return the private half of *kid*, or raise ``KeysMissing`` or ``KeysDamaged``."""
        path = self._private_path(kid)
        try:
            return Ed25519PrivateKey.from_private_bytes(base64.urlsafe_b64decode(path.read_text().strip() + "=="))
        except FileNotFoundError:
            raise KeysMissing(f"the private half of key {kid} is not in {self._folder}") from None
        except ValueError:
            raise KeysDamaged(f"{path} is damaged; revoke the key and issue another") from None

    def issue(self, name: str, kind: str, grant: Grant) -> Key:
        """Make a key; earlier keys of that name stay valid until they are revoked."""
        private = Ed25519PrivateKey.generate()
        seed = private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        key = Key(secrets.token_hex(8), name, kind, _text(public), grant, int(time.time()))
        with self._changing() as registry:
            write_private(self._private_path(key.kid), _text(seed).encode())
            self._write(replace(registry, keys=(*registry.keys, key)))
        return key

    def revoke(self, selector: str) -> tuple[Key, ...]:
        """Revoke every active key whose name or id is *selector*, or raise ``KeyNotFound``."""
        with self._changing() as registry:
            chosen = [key for key in registry.keys if selector in {key.name, key.kid} and key.revoked_at is None]
            if not chosen:
                raise KeyNotFound(
                    f"no active key is called {selector!r}; `memorybox keys list` shows all", name=selector
                )
            now = int(time.time())
            self._write(
                replace(registry, keys=tuple(replace(k, revoked_at=now) if k in chosen else k for k in registry.keys))
            )
        for key in chosen:
            self._private_path(key.kid).unlink(missing_ok=True)
        return tuple(chosen)

    def ensure(self, wanted: Iterable[tuple[str, str, Grant]]) -> None:
        """Make the folder and each of the *wanted* keys (name, kind, grant) of which there is no active one; so a revoked one is renewed.

        An active one that an earlier version made is granted what it lacks of audiences and RPCs.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        present = [key for key in self.read().keys if key.revoked_at is None] if self._path.exists() else []
        for name, kind, grant in wanted:
            own = [key for key in present if key.name == name]
            if not own:
                self.issue(name, kind, grant)
            self._widen({key.kid: key.grant.widened(grant) for key in own if key.kind == kind})

    def _widen(self, grants: Mapping[str, Grant]) -> None:
        """Give keys other grants, by their ids, if they have not got them."""
        if all(key.grant == grants.get(key.kid, key.grant) for key in self.read().keys):
            return
        with self._changing() as registry:
            keys = (replace(key, grant=grants.get(key.kid, key.grant)) for key in registry.keys)
            self._write(replace(registry, keys=tuple(keys)))

    @contextmanager
    def _changing(self) -> Iterator[Registry]:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(self._folder / "registry.lock"):
            yield self.read() if self._path.exists() else Registry(str(uuid.uuid4()), ())

    def _write(self, registry: Registry) -> None:
        write_private(self._path, json.dumps(asdict(registry), indent=1).encode())

    def _private_path(self, kid: str) -> Path:
        return self._folder / "private" / f"{Path(kid).name}.key"


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _registry_from_json(document: dict[str, object]) -> Registry:
    keys = []
    for item in document["keys"]:  # type: ignore[attr-defined]
        grant = Grant(**{name: tuple(values) for name, values in item.pop("grant").items()})
        key = Key(grant=grant, **item)
        key.public_key()  # damage shows here, not at a call
        keys.append(key)
    return Registry(str(document["deployment"]), tuple(keys))
