"""Who may call what of the analyst process. What an RPC may touch is decided further in; what is not here is denied."""

from services.mesh.access import AccessTable, Who, allow

_ANALYST = "/memorybox.analyst.v1.AnalystService/"
_SUBJECT_DATA = "/memorybox.governance.v1.SubjectDataService/"

_USER_RPCS = (
    *("Ask", "RenderChart", "ExecuteQuery", "SubmitFeedback"),
    "ApproveVerifiedQuery",  # the model's owner and governors, decided in the domain
    *("ListSemanticModels", "GetSemanticModel", "PutSemanticModel", "DeleteSemanticModel"),
    *("ValidateSemanticModel", "DraftSemanticModel"),
    *("LoadTable", "ListTables", "DropTable"),
)

ACCESS: AccessTable = {
    **{_ANALYST + name: allow(Who.USER) for name in _USER_RPCS},
    _SUBJECT_DATA + "CountSubjectData": allow(Who.SERVICE),
    _SUBJECT_DATA + "ExportSubjectData": allow(Who.SERVICE),
    _SUBJECT_DATA + "EraseSubjectData": allow(Who.SERVICE),
    _SUBJECT_DATA + "AnonymizeSubjectData": allow(Who.SERVICE),
}
