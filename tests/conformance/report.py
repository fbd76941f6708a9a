"""The page of scores, docs/conformance.md."""

from collections.abc import Mapping, Sequence

from tests.conformance.cases import Chapter
from tests.conformance.runner import NOT_OFFERED, PASSED, Result

_PAGE = """# Conformance of gRPC-JSON gateways

Written by `make conformance`; do not edit the tables. The suite lies in `tests/conformance`: {total} cases in `cases/`, one YAML file for
each chapter, a contract of its own in `protos/`, a scripted gRPC backend, and a runner that speaks raw HTTP/1.1. It knows nothing of the gateway
that it asks, so it can be run before any.

## Scores

A case passes when the backend saw exactly the call that the case expects, and the client exactly the answer. *Not offered* are cases about a
setting that the gateway does not have.

{requests}

What is refused at start-up, in place of at a request:

{startup}

## How to read them

The rules are those of google/api/http.proto and of the proto3 JSON mapping, and where these leave a choice, one that refuses what
can be read in two ways. A gateway that decides otherwise fails such cases without being wrong for its own users; most of Envoy's failures are of this
kind: it merges what comes twice, ignores what it does not know, lets bad escapes through, and leaves HEAD, OPTIONS, 405, deadlines, CORS and media types
to other filters or to nobody. Two tolerances are built in, so that scores compare behaviour and not taste:

- A refusal is judged by its HTTP status. Its body counts only where it is JSON, or in the cases about the body itself (T-50, T-51, T-76, T-262).
- JSON is compared by value: 1 is 1.0, the order of members is free, text may be escaped.

Envoy runs with the best configuration that we found (`Envoy.config` in `gateways.py`): grpc_json_transcoder with `auto_mapping`,
`convert_grpc_status`, rejection of unknown methods, unknown parameters and collisions, `ALL_CHARACTERS_EXCEPT_SLASH`, `+` as space, beside grpc_web and
connect_grpc_bridge. Services whose `response_body` it does not take are left out of its configuration, as it would not start.

## Run it before another gateway

```
python -m tests.conformance --write-descriptors suite.binpb
your-gateway --descriptors suite.binpb --backend 127.0.0.1:9090 --listen 127.0.0.1:8080 &
python -m tests.conformance --gateway http://127.0.0.1:8080 --backend-port 9090
```

`--only T-35` runs one rule, `--option emit_defaults=on` the cases of a gateway that was started so, `--start memorybox` or `--start envoy` what the suite can
start by itself. Start-up cases need a `check` of the gateway's own in `gateways.py`.

## How a case is written

| key | meaning |
|---|---|
| `id`, `title` | the rule and a name, and what it says |
| `options` | settings of the gateway; cases of the same settings share one process |
| `send`, `headers`, `raw` | request line and headers; or the whole request as bytes |
| `json`, `body`, `hex`, `frames`, `pieces` | the body: a value, text, bytes, gRPC-Web or Connect envelopes, chunks with waits for the backend |
| `socket` | what the client of a WebSocket says: text, `json`, `hex`, fragments (`parts`), or a wait for the backend (`after`) |
| `method`, `message`, `messages` | the call that the backend must see, in proto3 JSON, compared as messages |
| `metadata`, `deadline`, `cancelled`, `uncalled` | what else it must see; null is absence, `~` begins a regular expression |
| `backend` | what it answers: `reply`, `replies`, `status` with details, `initial`, `trailing`, `delay`, `hang` |
| `answer` | what the client must get: `status`, `headers`, `json`, `text`, `lines`, `events`, `frames`, `cut`, `absent` and others |
| `refused` | a refusal: its status, and where it is told, `code`, `field`, `allow` |
| `startup`, `config` | rules that a gateway must take or refuse at start-up |
"""


def page(chapters: Sequence[Chapter], results: Mapping[str, Sequence[Result]]) -> str:
    """Return docs/conformance.md."""
    total = sum(len(chapter.cases) for chapter in chapters)
    tables = {"requests": _table(chapters, results, startup=False), "startup": _table(chapters, results, startup=True)}
    return _PAGE.format(total=total, **tables)


def summary(chapters: Sequence[Chapter], results: Mapping[str, Sequence[Result]]) -> str:
    """Return both tables."""
    return "\n\n".join(_table(chapters, results, startup=startup) for startup in (False, True))


def _table(chapters: Sequence[Chapter], results: Mapping[str, Sequence[Result]], *, startup: bool) -> str:
    lines = ["| chapter | cases | " + " | ".join(results) + " |", "|---|---:|" + "---:|" * len(results)]
    for chapter in chapters:
        own = [case for case in chapter.cases if case.is_startup == startup]
        if own:
            scores = [_score([one for one in done if one.case in own]) for done in results.values()]
            lines.append(f"| {chapter.letter}. {chapter.title} | {len(own)} | " + " | ".join(scores) + " |")
    everything = [[one for one in done if one.case.is_startup == startup] for done in results.values()]
    count = max(map(len, everything), default=0)
    lines.append(f"| **all** | **{count}** | " + " | ".join(f"**{_score(done)}**" for done in everything) + " |")
    return "\n".join(lines)


def _score(results: Sequence[Result]) -> str:
    passed = sum(result.outcome == PASSED for result in results)
    missing = sum(result.outcome == NOT_OFFERED for result in results)
    return f"{passed} ({missing} not offered)" if missing else str(passed)
