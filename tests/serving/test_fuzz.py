"""The service against requests that schemathesis makes up from its own OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from kptk.serving import ServeOptions
from tests.serving.running import PATH, Service, encoded, picture, running

GOOD = encoded(picture(1))
CHECKS = [not_a_server_error, status_code_conformance, response_schema_conformance]
BOUNDED = settings(
    max_examples=40,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with running(ServeOptions(max_body_mb=0.1)) as found:
        yield found


@pytest.mark.parametrize(
    ("method", "path", "mode", "expected"),
    [
        ("GET", "/health", GenerationMode.POSITIVE, {200}),
        ("POST", PATH, GenerationMode.POSITIVE, {200, 422}),
        ("POST", PATH, GenerationMode.NEGATIVE, {422}),
    ],
)
def test_made_up_requests_get_documented_answers(
    service: Service, method: str, path: str, mode: GenerationMode, expected: set[int]
) -> None:
    """Half of the valid requests get a real picture, which no fuzzer thinks of."""
    schema = schemathesis.openapi.from_url(service.address + "/openapi.json")
    statuses = set()

    @BOUNDED
    @given(case=schema[path][method].as_strategy(generation_mode=mode))
    def ask(case: schemathesis.Case) -> None:
        if mode is GenerationMode.POSITIVE and method == "POST" and len(case.body["image"]) % 2:
            case.body["image"] = GOOD
        response = case.call()
        statuses.add(response.status_code)
        case.validate_response(response, checks=CHECKS)

    ask()
    assert expected <= statuses


@BOUNDED
@given(st.binary(max_size=200))
def test_made_up_bytes_get_the_envelope(service: Service, data: bytes) -> None:
    response = requests.post(service.address + PATH, data=data, timeout=20)
    answer = response.json()
    assert 400 <= response.status_code < 500
    assert answer["errorCode"] == response.status_code
    assert set(answer) == {"logId", "errorCode", "errorMsg"}
