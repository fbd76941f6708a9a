"""Key files: what a grant covers, how keys come and go, who can read the files, and what damage looks like."""

import json
import stat
from pathlib import Path

import pytest

from services.mesh.errors import FailedPrecondition
from services.mesh.keys import ANY, Grant, Key, KeyFolder, KeyNotFound, KeysMissing

GET = "/memorybox.memory.v1.MemoryService/GetMemory"
LIST = "/memorybox.memory.v1.MemoryService/ListMemories"
EMBED = "/memorybox.embedding.v1.EmbeddingService/EmbedTexts"


@pytest.fixture
def folder(tmp_path: Path) -> KeyFolder:
    return KeyFolder(tmp_path / "keys")


def key(kind: str, grant: Grant) -> Key:
    return Key("k1", "k", kind, "", grant, 0)


@pytest.mark.parametrize(
    ("rpcs", "granted"),
    [
        pytest.param((), set(), id="nothing"),
        pytest.param((GET,), {GET}, id="one-method"),
        pytest.param(("/memorybox.memory.v1.MemoryService/*",), {GET, LIST}, id="one-service"),
        pytest.param((ANY,), {GET, LIST, EMBED}, id="everything"),
        pytest.param(("/memorybox.memory.v1.MemoryService/Get",), set(), id="beginning-of-a-name"),
        pytest.param(("/memorybox.memory.v1.*",), set(), id="package-with-star"),
        pytest.param(("/memorybox.memory.v1.MemoryServiceOther/*",), set(), id="longer-service-name"),
    ],
)
def test_grant_covers_just_the_named_rpcs(rpcs: tuple[str, ...], granted: set[str]) -> None:
    grant = Grant(rpcs=rpcs)

    assert {method for method in (GET, LIST, EMBED) if grant.allows_rpc(method)} == granted


@pytest.mark.parametrize(
    ("kind", "grant", "user", "roles", "expected"),
    [
        pytest.param("client", Grant(), "client:k", (), True, id="client-itself"),
        pytest.param("client", Grant(), "client:other", (), False, id="client-as-another-client"),
        pytest.param("client", Grant(), "ann", (), False, id="client-as-a-user-not-granted"),
        pytest.param("client", Grant(users=("ann",)), "ann", (), True, id="client-as-a-granted-user"),
        pytest.param("client", Grant(users=("ann",)), "Ann", (), False, id="users-compare-byte-for-byte"),
        pytest.param("client", Grant(users=("ann",)), "ann", ("R",), False, id="role-not-granted"),
        pytest.param("client", Grant(users=("ann",), roles=("R",)), "ann", ("R",), True, id="role-granted"),
        pytest.param("client", Grant(users=("ann",), roles=("R",)), "ann", ("R", "S"), False, id="one-role-too-many"),
        pytest.param("client", Grant(users=(ANY,)), "ann", (), False, id="star-user-is-the-gateways-alone"),
        pytest.param("client", Grant(roles=(ANY,)), "client:k", ("R",), False, id="star-role-is-the-gateways-alone"),
        pytest.param("service", Grant(users=(ANY,)), "ann", (), False, id="service-with-star"),
        pytest.param("service", Grant(), "service:k", (), True, id="service-itself"),
        pytest.param("gateway", Grant(users=(ANY,), roles=(ANY,)), "ann", ("R",), True, id="gateway"),
        pytest.param("gateway", Grant(users=("ann",)), "bob", (), False, id="gateway-without-star"),
    ],
)
def test_key_asserts_just_whom_its_grant_covers(
    kind: str, grant: Grant, user: str, roles: tuple[str, ...], *, expected: bool
) -> None:
    assert key(kind, grant).may_assert(user, roles) is expected


def test_issued_key_is_found_by_name_and_by_id(folder: KeyFolder) -> None:
    issued = folder.issue("cli", "client", Grant(users=("ann",)))

    registry = folder.read()

    assert registry.active("cli") == issued
    assert registry.by_kid(issued.kid) == issued
    assert registry.by_kid("") is None


def test_private_half_fits_the_public_one(folder: KeyFolder) -> None:
    issued = folder.issue("cli", "client", Grant())

    signature = folder.private_key(issued.kid).sign(b"text")

    issued.public_key().verify(signature, b"text")


def test_rotated_key_stays_valid_beside_the_new_one_until_revoked(folder: KeyFolder) -> None:
    old = folder.issue("gateway", "gateway", Grant())
    new = folder.issue("gateway", "gateway", Grant())
    assert folder.read().active("gateway") == new
    assert folder.read().by_kid(old.kid) == old

    folder.revoke(old.kid)

    assert folder.read().active("gateway") == new
    assert folder.read().by_kid(old.kid) is None


def test_revoking_a_name_ends_every_key_of_it_and_removes_the_private_halves(folder: KeyFolder) -> None:
    kids = {folder.issue("ci", "client", Grant()).kid for _ in range(2)}
    other = folder.issue("cli", "client", Grant())

    revoked = folder.revoke("ci")

    assert {key.kid for key in revoked} == kids
    with pytest.raises(KeyNotFound):
        folder.read().active("ci")
    for kid in kids:
        with pytest.raises(KeysMissing):
            folder.private_key(kid)
    assert folder.read().active("cli") == other


def test_revoked_key_stays_in_the_registry_with_its_time(folder: KeyFolder) -> None:
    issued = folder.issue("ci", "client", Grant())
    folder.revoke("ci")

    (kept,) = folder.read().keys

    assert kept.kid == issued.kid
    assert kept.revoked_at is not None
    with pytest.raises(KeyNotFound):
        folder.revoke("ci")


def test_ensure_makes_what_is_missing_and_leaves_the_rest(folder: KeyFolder) -> None:
    folder.ensure([("gateway", "gateway", Grant())])
    first = folder.read()

    folder.ensure([("gateway", "gateway", Grant(users=("mallory",))), ("cli", "client", Grant())])

    second = folder.read()
    assert second.deployment == first.deployment
    assert second.active("gateway") == first.active("gateway")
    assert [key.name for key in second.keys] == ["gateway", "cli"]


def test_ensure_grants_an_earlier_versions_key_what_it_lacks(folder: KeyFolder) -> None:
    """Else a service that a new version brings could not be called in an old deployment."""
    folder.ensure([("gateway", "gateway", Grant(users=("*",), audiences=("memory",), rpcs=("/a.A/*",)))])
    first = folder.read().active("gateway")

    folder.ensure([("gateway", "gateway", Grant(users=("eve",), audiences=("analyst",), rpcs=("/a.A/*", "/b.B/*")))])

    widened = folder.read().active("gateway")
    assert (widened.kid, widened.public) == (first.kid, first.public)
    assert widened.grant == Grant(users=("*",), audiences=("memory", "analyst"), rpcs=("/a.A/*", "/b.B/*"))


def test_ensure_renews_what_was_revoked(folder: KeyFolder) -> None:
    """Else revoking a key that the mesh itself uses would end the deployment."""
    folder.ensure([("gateway", "gateway", Grant())])
    (revoked,) = folder.revoke("gateway")

    folder.ensure([("gateway", "gateway", Grant())])

    assert folder.read().active("gateway").kid != revoked.kid
    assert folder.read().by_kid(revoked.kid) is None


def test_two_folders_are_two_deployments(tmp_path: Path) -> None:
    ids = set()
    for name in ("a", "b"):
        folder = KeyFolder(tmp_path / name)
        folder.ensure([("cli", "client", Grant())])
        ids.add(folder.read().deployment)

    assert len(ids) == 2


def test_files_are_readable_by_their_owner_only(folder: KeyFolder, tmp_path: Path) -> None:
    folder.issue("gateway", "gateway", Grant())
    folder.issue("cli", "client", Grant())
    folder.revoke("cli")

    root = tmp_path / "keys"
    modes = {str(found.relative_to(tmp_path)): stat.S_IMODE(found.stat().st_mode) for found in (root, *root.rglob("*"))}

    assert {name for name, mode in modes.items() if mode & 0o077} == set()
    assert len([name for name in modes if name.endswith(".key")]) == 1
    assert [name for name in modes if "/." in name] == [], "a temporary file was left"


def test_every_change_changes_the_stamp(folder: KeyFolder) -> None:
    stamps = [folder.stamp()]
    for _ in range(3):
        folder.issue("cli", "client", Grant())
        stamps.append(folder.stamp())
    folder.revoke("cli")
    stamps.append(folder.stamp())

    assert len(set(stamps)) == len(stamps)
    assert stamps[0] == (0, 0)


def test_absent_registry_says_which_command_makes_keys(folder: KeyFolder) -> None:
    with pytest.raises(KeysMissing, match="memorybox up"):
        folder.read()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param('{"deployment": "d", "keys": [', id="cut-off"),
        pytest.param("[]", id="list"),
        pytest.param("{}", id="no-keys"),
        pytest.param('{"deployment": "d", "keys": [{"kid": "x"}]}', id="key-without-fields"),
        pytest.param('{"deployment": "d", "keys": [7]}', id="key-that-is-a-number"),
        pytest.param("\x00\x01", id="binary"),
    ],
)
def test_damaged_registry_is_named_in_one_clear_error(folder: KeyFolder, tmp_path: Path, text: str) -> None:
    folder.ensure([("cli", "client", Grant())])
    (tmp_path / "keys" / "registry.json").write_text(text)

    with pytest.raises(FailedPrecondition, match=r"registry\.json"):
        folder.read()


def test_registry_with_a_public_key_that_is_none_is_damaged(folder: KeyFolder, tmp_path: Path) -> None:
    folder.ensure([("cli", "client", Grant())])
    path = tmp_path / "keys" / "registry.json"
    document = json.loads(path.read_text())
    document["keys"][0]["public"] = "c2hvcnQ"
    path.write_text(json.dumps(document))

    with pytest.raises(FailedPrecondition, match=r"registry\.json"):
        folder.read()


@pytest.mark.parametrize("text", ["", "AAAA", "not base64!"])
def test_damaged_private_key_is_named_and_not_shown(folder: KeyFolder, tmp_path: Path, text: str) -> None:
    issued = folder.issue("cli", "client", Grant())
    (tmp_path / "keys" / "private" / f"{issued.kid}.key").write_text(text)

    with pytest.raises(FailedPrecondition) as refused:
        folder.private_key(issued.kid)

    assert issued.kid in str(refused.value)
    assert not text or text not in str(refused.value)


def test_key_id_cannot_lead_out_of_the_folder(folder: KeyFolder, tmp_path: Path) -> None:
    folder.ensure([("cli", "client", Grant())])
    (tmp_path / "outside.key").write_text("A" * 43)

    with pytest.raises(KeysMissing):
        folder.private_key("../../outside")
