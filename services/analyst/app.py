"""The wiring of the analyst service; the only file that names its adapters."""

from memorybox.analyst.v1 import analyst_service_pb2, analyst_service_pb2_grpc
from memorybox.governance.v1 import subject_data_service_pb2, subject_data_service_pb2_grpc
from services.analyst.access import ACCESS
from services.mesh.server import Registration, Service


def service() -> Service:
    """Return everything that the analyst process serves."""
    registrations = (
        Registration.of(analyst_service_pb2, analyst_service_pb2_grpc, "AnalystService"),
        Registration.of(subject_data_service_pb2, subject_data_service_pb2_grpc, "SubjectDataService"),
    )
    return Service(registrations, ACCESS)
