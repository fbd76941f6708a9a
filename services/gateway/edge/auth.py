"""Who calls, by the mode that MEMORYBOX_AUTH names. Identity headers end here: nothing of them goes inward."""

import getpass
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from services.gateway.edge.arrival import Arrival
from services.gateway.edge.browsers import CrossSiteRule, HostList, check_content_type, is_harmless
from services.gateway.edge.oidc import OidcAuthenticator
from services.gateway.edge.people import checked_name, checked_roles, person, single
from services.gateway.edge.refusals import refuse
from services.gateway.settings import GatewaySettings
from services.mesh.caller import Caller
from services.mesh.config import BadSettings, is_loopback
from services.mesh.keys import GATEWAY

USER_HEADER = "X-Memorybox-User"
ROLES_HEADER = "X-Memorybox-Roles"
SNOWFLAKE_USER_HEADER = "Sf-Context-Current-User"


class Authenticator(Protocol):
    """Decides for whom a request acts."""

    async def authenticate(self, arrival: Arrival) -> Caller:
        """Return the caller, or raise ``HttpError``."""
        ...


@dataclass(frozen=True, slots=True)
class DevAuthenticator:
    """Believes headers; for one person's machine, hence only behind loopback listeners and shut to web pages."""

    default_user: str
    hosts: HostList
    pages: CrossSiteRule
    lenient: bool = False

    @classmethod
    def open(cls, bind: str, settings: GatewaySettings, *, lenient: bool = False) -> "DevAuthenticator":
        """Return the authenticator, or raise ``BadSettings`` when *bind* can be reached from elsewhere."""
        if not is_loopback(bind):
            raise BadSettings(
                f"MEMORYBOX_AUTH=dev believes whatever callers say, so it serves loopback addresses only, not "
                f"MEMORYBOX_BIND={bind}; use 127.0.0.1, or MEMORYBOX_AUTH=oidc"
            )
        hosts = HostList(tuple(host.lower() for host in settings.allowed_hosts))
        return cls(os_user(), hosts, CrossSiteRule(frozenset(settings.cors_origins)), lenient)

    async def authenticate(self, arrival: Arrival) -> Caller:
        """Return the user of the headers, by default the OS user."""
        self.hosts.check(arrival)
        if not (self.lenient and is_harmless(arrival)):
            self.pages.check(arrival)
        check_content_type(arrival, lenient=self.lenient)
        user = single(arrival.headers, USER_HEADER)
        roles = single(arrival.headers, ROLES_HEADER)
        return Caller(
            self.default_user if user is None else checked_name(user, USER_HEADER),
            checked_roles(_items(roles or ""), ROLES_HEADER),
            GATEWAY,
        )


def _items(text: str) -> Iterable[str]:
    return [item.strip() for item in text.split(",")] if text.strip() else []


def os_user() -> str:
    """Return the name of the user who runs this process; containers may have a number only."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return f"uid-{os.getuid()}"


@dataclass(frozen=True, slots=True)
class SpcsAuthenticator:
    """Believes the ingress of Snowpark Container Services, which sets the user on every request to the public port.

    Its sign-in cookie makes browsers act for the user on their own, so writes from other sites are refused here too.
    Roles come with the caller's session, which the gateway does not open: none are asserted.
    """

    pages: CrossSiteRule

    @classmethod
    def open(cls, settings: GatewaySettings) -> "SpcsAuthenticator":
        """Return the authenticator, or raise ``BadSettings`` outside Snowpark Container Services."""
        missing = [
            variable
            for variable, value in (
                ("SNOWFLAKE_HOST", settings.snowflake_host),
                ("SNOWFLAKE_ACCOUNT", settings.snowflake_account),
                ("SNOWFLAKE_SERVICE_NAME", settings.snowflake_service),
            )
            if not value
        ]
        if not Path(settings.spcs_token_file).exists():
            missing.append(str(settings.spcs_token_file))
        if missing:
            raise BadSettings(
                f"MEMORYBOX_AUTH=spcs believes a header that only Snowflake's ingress may set, so it runs inside Snowpark "
                f"Container Services only; not there: {', '.join(missing)}"
            )
        return cls(CrossSiteRule(frozenset(settings.cors_origins)))

    async def authenticate(self, arrival: Arrival) -> Caller:
        """Return the user whom the ingress signed in."""
        if arrival.writes:
            self._check_page(arrival)
            check_content_type(arrival)
        user = single(arrival.headers, SNOWFLAKE_USER_HEADER)
        if user is None:
            raise refuse(401, "the ingress named no user", reason="NO_IDENTITY")
        return Caller(person(user, SNOWFLAKE_USER_HEADER), frozenset(), GATEWAY)

    def _check_page(self, arrival: Arrival) -> None:
        # Behind the ingress Host may differ from what the browser asked for; the browser's own word counts first.
        if arrival.headers.getall("Sec-Fetch-Site", []) not in (["same-origin"], ["none"]):
            self.pages.check(arrival)


def open_authenticator(bind: str, settings: GatewaySettings, *, lenient: bool = False) -> Authenticator:
    """Return the authenticator that the settings name, or raise ``BadSettings`` when it cannot be safe here."""
    if settings.auth == "spcs":
        return SpcsAuthenticator.open(settings)
    if settings.auth == "oidc":
        return OidcAuthenticator.open(settings)
    return DevAuthenticator.open(bind, settings, lenient=lenient)
