"""A conformance suite for gRPC-JSON gateways: cases as data, a contract of its own, a scripted backend, a runner over raw HTTP.

``python -m tests.conformance --help`` says how to run it before any gateway; docs/conformance.md says how to read it.
"""
