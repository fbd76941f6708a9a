"""Who may call what of the memory process. What an RPC may touch is decided further in; what is not here is denied."""

from services.mesh.access import AccessTable, Who, allow

_MEMORY = "/memorybox.memory.v1.MemoryService/"
_GOVERNANCE = "/memorybox.governance.v1.GovernanceService/"
_AUDIT = "/memorybox.governance.v1.AuditService/"
_OPERATION = "/memorybox.governance.v1.OperationService/"
_SUBJECT_DATA = "/memorybox.governance.v1.SubjectDataService/"

_USER_RPCS = (
    *(
        "CreateMemory",
        "BatchCreateMemories",
        "GetMemory",
        "BatchGetMemories",
        "ListMemories",
        "UpdateMemory",
        "DeleteMemory",
    ),
    *("SearchMemories", "BatchSearchMemories", "CountMemories", "FacetMemories", "FindRelatedMemories", "GetLineage"),
    *(
        "UndeleteMemory",
        "RestoreMemory",
        "SupersedeMemory",
        "ListMemoryRevisions",
        "FindDuplicateMemories",
        "MergeMemories",
    ),
    *("DeleteMemories", "ImportMemories", "ExportMemories", "WatchMemories"),
)

ACCESS: AccessTable = {
    **{_MEMORY + name: allow(Who.USER) for name in _USER_RPCS},
    _MEMORY + "StartReembedding": allow(Who.OPERATOR),
    _GOVERNANCE + "EraseOwner": allow(Who.USER),  # oneself; anyone else: governors, decided in the domain
    _GOVERNANCE + "AnonymizeOwner": allow(Who.GOVERNOR),
    _GOVERNANCE + "GetRetentionPolicy": allow(Who.USER),
    _GOVERNANCE + "SetRetentionPolicy": allow(Who.GOVERNOR),
    _GOVERNANCE + "GetUsage": allow(Who.USER),
    _GOVERNANCE + "SetQuota": allow(Who.GOVERNOR),
    _GOVERNANCE + "CreateBackup": allow(Who.GOVERNOR),
    _GOVERNANCE + "ListBackups": allow(Who.GOVERNOR),
    _GOVERNANCE + "RestoreBackup": allow(Who.GOVERNOR),
    _GOVERNANCE + "GetStorageStats": allow(Who.OPERATOR, Who.GOVERNOR),
    _AUDIT + "ListAuditEvents": allow(Who.USER),  # events about oneself; all of them: governors, decided in the domain
    _AUDIT + "VerifyAuditLog": allow(Who.GOVERNOR),
    _AUDIT + "AppendAuditEvents": allow(Who.SERVICE),
    _OPERATION + "GetOperation": allow(Who.USER),
    _OPERATION + "ListOperations": allow(Who.USER),
    _OPERATION + "CancelOperation": allow(Who.USER),
    _SUBJECT_DATA + "CountSubjectData": allow(Who.SERVICE),
    _SUBJECT_DATA + "ExportSubjectData": allow(Who.SERVICE),
    _SUBJECT_DATA + "EraseSubjectData": allow(Who.SERVICE),
    _SUBJECT_DATA + "AnonymizeSubjectData": allow(Who.SERVICE),
}
