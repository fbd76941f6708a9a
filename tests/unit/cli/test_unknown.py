from services.cli.unknown import known_variables, warnings


def test_slip_of_the_pen_is_told_with_the_name_that_was_meant() -> None:
    found = warnings({"MEMORYBOX_GATEWAY_WORKER": "1", "MEMORYBOX_GATEWAY_WORKRES": "2", "PATH": "x"})

    assert found == ["MEMORYBOX_GATEWAY_WORKRES is no setting; is MEMORYBOX_GATEWAY_WORKERS meant?"]


def test_name_like_no_other_is_told_alone() -> None:
    assert warnings({"MEMORYBOX_XYZZY": ""}) == ["MEMORYBOX_XYZZY is no setting"]


def test_settings_of_every_service_and_options_of_the_transcoder_are_known() -> None:
    assert {
        "MEMORYBOX_AUTH",
        "MEMORYBOX_BIND",
        "MEMORYBOX_SUPERVISOR_FD",
        "MEMORYBOX_USER",
        "MEMORYBOX_AUDIT_READS",
        "MEMORYBOX_GATEWAY_UNKNOWN_JSON",
    } <= known_variables()
