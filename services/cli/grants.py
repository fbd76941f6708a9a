"""What each key of a deployment may vouch for, and what a client's key gets for each audience."""

from collections.abc import Mapping

from services.mesh.keys import ANY, Grant

MEMORIES = "/memorybox.memory.v1.MemoryService/*"
EMBEDDINGS = "/memorybox.embedding.v1.EmbeddingService/*"
GOVERNANCE = "/memorybox.governance.v1.GovernanceService/*"
OPERATIONS = "/memorybox.governance.v1.OperationService/*"
AUDIT_READS = (
    "/memorybox.governance.v1.AuditService/ListAuditEvents",
    "/memorybox.governance.v1.AuditService/VerifyAuditLog",
)

# What `keys issue --audience A` grants when no RPC is named. A service without an entry takes no clients.
CLIENT_RPCS: Mapping[str, tuple[str, ...]] = {"memory": (MEMORIES,), "embedding": (EMBEDDINGS,)}


def standard_keys(user: str) -> tuple[tuple[str, str, Grant], ...]:
    """Return (name, kind, grant) of the keys that every deployment has; *user* is whom the command line may act for."""
    gateway = Grant(
        users=(ANY,),
        roles=(ANY,),
        audiences=("memory", "embedding", "analyst", "chat"),
        rpcs=(MEMORIES, GOVERNANCE, OPERATIONS, *AUDIT_READS, EMBEDDINGS),
    )
    return (
        ("gateway", "gateway", gateway),
        ("memory", "service", Grant(audiences=("embedding",), rpcs=(EMBEDDINGS,))),
        ("embedding", "service", Grant()),
        ("cli", "client", Grant(users=(user,), audiences=("memory", "embedding"), rpcs=(MEMORIES, EMBEDDINGS))),
    )
