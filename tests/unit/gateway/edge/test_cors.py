from multidict import CIMultiDict

from services.gateway.edge.cors import Cors

ORIGIN = "https://app.test"


def test_without_origins_answers_stay_untouched() -> None:
    headers = CIMultiDict[str]()

    Cors([]).allow(CIMultiDict(Origin=ORIGIN), headers)

    assert not headers


def test_answers_differ_by_origin_also_for_others() -> None:
    headers = CIMultiDict[str]()

    Cors([ORIGIN]).allow(CIMultiDict(Origin="https://evil.test"), headers)

    assert list(headers.items()) == [("Vary", "Origin")]


def test_listed_origin_is_named_exactly() -> None:
    headers = CIMultiDict[str]()

    Cors([ORIGIN]).allow(CIMultiDict(Origin=ORIGIN), headers)

    assert headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "Access-Control-Allow-Credentials" not in headers


def test_preflight_grants_known_headers_only() -> None:
    asked = CIMultiDict({"Origin": ORIGIN, "Access-Control-Request-Headers": "Content-Type,cookie, Grpc-Metadata-X"})

    granted = Cors([ORIGIN]).preflight(asked, ["GET", "POST"])

    assert granted["Access-Control-Allow-Headers"] == "Content-Type, Grpc-Metadata-X"
    assert granted["Access-Control-Allow-Methods"] == "GET, POST"


def test_preflight_grants_the_headers_of_rpc_clients() -> None:
    names = ["x-grpc-web", "x-user-agent", "grpc-timeout", "connect-protocol-version", "connect-timeout-ms"]
    asked = CIMultiDict({"Origin": ORIGIN, "Access-Control-Request-Headers": ",".join(names)})

    granted = Cors([ORIGIN]).preflight(asked, ["POST"])

    assert granted["Access-Control-Allow-Headers"].split(", ") == names


def test_metadata_of_an_answer_are_exposed() -> None:
    headers = CIMultiDict({"Trailer-X-Cost": "5", "Grpc-Metadata-X": "1", "Secret": "s"})

    Cors([ORIGIN]).allow(CIMultiDict(Origin=ORIGIN), headers)

    exposed = headers["Access-Control-Expose-Headers"].split(", ")
    assert {"Trailer-X-Cost", "Grpc-Metadata-X", "Grpc-Status"} <= set(exposed)
    assert "Secret" not in exposed


def test_only_asking_options_are_preflights() -> None:
    cors = Cors([ORIGIN])
    asking = CIMultiDict({"Origin": ORIGIN, "Access-Control-Request-Method": "POST"})

    assert cors.is_preflight("OPTIONS", asking)
    assert not cors.is_preflight("POST", asking)
    assert not cors.is_preflight("OPTIONS", CIMultiDict(Origin=ORIGIN))
