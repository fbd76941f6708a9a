"""What each key of a deployment may vouch for, and what a client's key gets for each audience."""

from collections.abc import Mapping

from services.mesh.keys import ANY, Grant

MEMORIES = "/memorybox.memory.v1.MemoryService/*"
EMBEDDINGS = "/memorybox.embedding.v1.EmbeddingService/*"
ANALYST = "/memorybox.analyst.v1.AnalystService/*"
GOVERNANCE = "/memorybox.governance.v1.GovernanceService/*"
OPERATIONS = "/memorybox.governance.v1.OperationService/*"
SUBJECT_DATA = "/memorybox.governance.v1.SubjectDataService/*"
AUDIT_APPENDS = "/memorybox.governance.v1.AuditService/AppendAuditEvents"
AUDIT_READS = (
    "/memorybox.governance.v1.AuditService/ListAuditEvents",
    "/memorybox.governance.v1.AuditService/VerifyAuditLog",
)

# What `keys issue --audience A` grants when no RPC is named. A service without an entry takes no clients.
CLIENT_RPCS: Mapping[str, tuple[str, ...]] = {
    "memory": (MEMORIES,),
    "embedding": (EMBEDDINGS,),
    "analyst": (ANALYST,),
}


def standard_keys(user: str) -> tuple[tuple[str, str, Grant], ...]:
    """Return (name, kind, grant) of the keys that every deployment has; *user* is whom the command line may act for."""
    gateway = Grant(
        users=(ANY,),
        roles=(ANY,),
        audiences=("memory", "embedding", "analyst", "chat"),
        rpcs=(MEMORIES, GOVERNANCE, OPERATIONS, *AUDIT_READS, EMBEDDINGS, ANALYST),
    )
    return (
        ("gateway", "gateway", gateway),
        ("memory", "service", Grant(audiences=("embedding", "analyst"), rpcs=(EMBEDDINGS, SUBJECT_DATA))),
        ("embedding", "service", Grant()),
        ("analyst", "service", Grant(audiences=("embedding", "memory"), rpcs=(EMBEDDINGS, AUDIT_APPENDS))),
        (
            "cli",
            "client",
            Grant(users=(user,), audiences=("memory", "embedding", "analyst"), rpcs=(MEMORIES, EMBEDDINGS, ANALYST)),
        ),
    )
