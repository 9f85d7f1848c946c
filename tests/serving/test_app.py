"""The service's answers over a real socket. Expected: PaddleX's envelope, numbers by hand."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from kptk.serving import ServeOptions
from tests.fake_pair import pose_in
from tests.serving.running import PATH, Service, encoded, picture, right_edge, running

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with running(ServeOptions(max_body_mb=0.25, max_pixels=5000)) as found:
        yield found


def post(service: Service, body: Any, **headers: str) -> requests.Response:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return requests.post(service.address + PATH, data=data, headers=JSON | headers, timeout=20)


def test_health(service: Service) -> None:
    response = requests.get(service.address + "/health", timeout=20)
    assert response.status_code == 200
    answer = response.json()
    assert list(answer) == ["logId", "errorCode", "errorMsg"]
    assert (answer["errorCode"], answer["errorMsg"]) == (0, "Healthy")


def test_an_answer_in_paddlex_s_names(service: Service) -> None:
    response = service.ask(20, logId="mine")
    assert response.status_code == 200
    answer = response.json()
    assert list(answer) == ["logId", "result", "errorCode", "errorMsg"]
    assert (answer["logId"], answer["errorCode"], answer["errorMsg"]) == ("mine", 0, "Success")
    (person,) = answer["result"]["persons"]
    assert list(person) == ["bbox", "kpts", "detScore", "kptScore"]
    assert person["bbox"] == [1, 1, 22, 9]
    assert person["detScore"] == pytest.approx(0.9)
    assert person["kptScore"] == pytest.approx(0.8)
    points = np.array(person["kpts"])
    assert points[:, :2] == pytest.approx(pose_in((1, 1, 22, 9)), abs=1e-4)
    drawn = Image.open(io.BytesIO(base64.b64decode(answer["result"]["image"], validate=True)))
    assert (drawn.format, drawn.size) == ("JPEG", (40, 30))
    assert len({tuple(colour) for colour in np.asarray(drawn).reshape(-1, 3)}) > 10  # drawn on


def test_what_may_be_left_out(service: Service) -> None:
    first, second = service.ask().json(), service.ask(logId=None, detThreshold=None).json()
    assert first["logId"] != second["logId"]
    assert "image" in first["result"]
    assert "image" in service.ask(visualize=None).json()["result"]
    assert list(service.ask(visualize=False).json()["result"]) == ["persons"]
    assert service.ask(useNewModel=True).status_code == 200  # what we do not know is ignored


@pytest.mark.parametrize(
    ("threshold", "people"), [(0, 1), (0.5, 1), (0.89, 1), (0.91, 0), (1, 0), (None, 1)]
)
def test_the_threshold_of_a_request(service: Service, threshold: float | None, people: int) -> None:
    answer = service.ask(detThreshold=threshold).json()
    assert len(answer["result"]["persons"]) == people


@pytest.mark.parametrize(
    "kind", ["application/json", "application/x-www-form-urlencoded", "text/plain", None]
)
def test_clients_that_forget_the_content_type(service: Service, kind: str | None) -> None:
    body = json.dumps({"image": encoded(picture(1))})
    headers = {"Content-Type": kind} if kind else {}
    response = requests.post(
        service.address + PATH, data=body.encode(), headers=headers, timeout=20
    )
    assert response.status_code == 200, response.text


def test_base64_in_lines(service: Service) -> None:
    lines = base64.encodebytes(picture(7)).decode()
    assert "\n" in lines
    (person,) = post(service, {"image": lines}).json()["result"]["persons"]
    assert person["bbox"][2] == right_edge(7)


def big(width: int, height: int) -> str:
    buffer = io.BytesIO()
    Image.new("L", (width, height)).save(buffer, "PNG")
    return encoded(buffer.getvalue())


GOOD = encoded(picture(1))


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"image": "!!!"}, 422, "base64"),
        ({"image": GOOD[:-5]}, 422, "base64"),
        ({"image": "ümlaut"}, 422, "base64"),
        ({"image": ""}, 422, "image:"),
        ({"image": "  "}, 422, "empty"),
        ({"image": encoded(b"plain text")}, 422, "must be an image"),
        ({"image": encoded(b"<html>")}, 422, "HTML"),
        ({"image": encoded(picture(1)[:60])}, 422, "damaged"),
        ({"image": big(100, 51)}, 413, "5,000 pixels at most"),
        ({"image": big(20_000, 10_000)}, 413, "too large"),
        ({"image": "http://example.com/a.jpg"}, 422, "--allow-urls"),
        ({"image": "file:///etc/hostname"}, 422, "--allow-urls"),
        ({"image": 5}, 422, "image: Input should be a valid string"),
        ({}, 422, "image: Field required"),
        ({"image": GOOD, "detThreshold": 1.5}, 422, "detThreshold"),
        ({"image": GOOD, "detThreshold": -1}, 422, "detThreshold"),
        ({"image": GOOD, "detThreshold": "high"}, 422, "detThreshold"),
        ({"image": GOOD, "visualize": "maybe"}, 422, "visualize"),
        ({"image": GOOD, "logId": "x" * 129}, 422, "logId"),
        (b'{"image": "' + GOOD.encode() + b'", "detThreshold": NaN}', 422, "detThreshold"),
        (b'{"image": "a", "logId": "\\ud800"}', 422, "logId"),  # half a surrogate pair
        ([1, 2], 422, "dictionary"),
        (b"hello", 422, "JSON"),
        (b"", 422, "required"),
        (b"[" * 100_000, 400, "parsing the body"),
        (b"\x80abc", 400, "parsing the body"),
        (b'{"image": "' + b"A" * 300_000 + b'"}', 413, "0.25 MiB at most"),
    ],
    ids=lambda value: None if isinstance(value, int) else repr(value)[:40],
)  # fmt: skip
def test_bad_requests_are_told_apart(
    service: Service, body: Any, status: int, message: str
) -> None:
    response = post(service, body)
    answer = response.json()
    assert (response.status_code, answer["errorCode"]) == (status, status), answer
    assert list(answer) == ["logId", "errorCode", "errorMsg"]
    assert message in answer["errorMsg"]
    assert answer["logId"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/ocr", 404),
        ("POST", "/", 404),
        ("GET", PATH, 405),
        ("PUT", PATH, 405),
        ("POST", "/health", 405),
        ("OPTIONS", PATH, 405),
    ],
)
def test_the_framework_s_own_errors(service: Service, method: str, path: str, status: int) -> None:
    response = requests.request(method, service.address + path, timeout=20)
    answer = response.json()
    assert (response.status_code, answer["errorCode"]) == (status, status)
    assert list(answer) == ["logId", "errorCode", "errorMsg"]
    assert f"{method} {path}" in answer["errorMsg"]
    if status == 405:
        assert response.headers["Allow"] in ("GET", "POST")


@pytest.mark.parametrize("body", [{"image": "!!!"}, {"image": 3}, {"image": GOOD, "visualize": 7}])
def test_the_log_id_comes_back_with_errors(service: Service, body: dict[str, Any]) -> None:
    assert post(service, body | {"logId": "abc-1"}).json()["logId"] == "abc-1"


def test_a_failing_pipeline_is_a_500_that_tells_no_secrets(service: Service) -> None:
    answer = service.ask(13, logId="x").json()
    assert (answer["errorCode"], answer["logId"]) == (500, "x")
    assert "RuntimeError" in answer["errorMsg"]
    assert "secret" not in answer["errorMsg"]
    assert service.ask(1).status_code == 200


def test_openapi_tells_the_envelope(service: Service) -> None:
    document = requests.get(service.address + "/openapi.json", timeout=20).json()
    operation = document["paths"][PATH]["post"]
    assert {"200", "401", "408", "413", "422", "503", "504"} <= set(operation["responses"])
    schema = operation["responses"]["422"]["content"]["application/json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/ErrorResponse"}
    request = document["components"]["schemas"]["DetectionRequest"]
    assert set(request["properties"]) == {"image", "detThreshold", "visualize", "logId"}
    assert request["required"] == ["image"]
    assert "security" not in operation
    page = requests.get(service.address + "/docs", timeout=20)
    assert page.headers["Content-Type"].startswith("text/html")


def test_pages_of_other_origins_may_not_ask(service: Service) -> None:
    body = {"image": GOOD}
    for origin in ("http://evil.example", "null"):
        assert post(service, body, Origin=origin).status_code == 403
    assert post(service, body, Origin=service.address).status_code == 200  # its own page


@pytest.mark.parametrize(
    ("host", "status"),
    [("evil.example", 403), ("evil.example:8080", 403), ("1.2.3.4.evil.example", 403),
     ("[evil", 403), ("", 403), ("localhost:8080", 200), ("127.0.0.1", 200), ("[::1]:8080", 200)],
)  # fmt: skip
def test_a_name_that_was_made_to_mean_this_machine(
    service: Service, host: str, status: int
) -> None:
    """DNS rebinding: to the browser, the service is the page's own host."""
    answer = post(service, {"image": GOOD}, Origin=f"http://{host}", Host=host)
    assert answer.status_code == status


def test_pages_under_a_name_ask_with_a_token() -> None:
    named = {"Origin": "https://pose.example", "Host": "pose.example"}
    with running(ServeOptions(token="s3cret")) as service:
        body = {"image": GOOD}
        assert post(service, body, **named).status_code == 401
        assert post(service, body, **named, Authorization="Bearer s3cret").status_code == 200


def test_a_token_is_asked_for() -> None:
    with running(ServeOptions(token="s3cret")) as service:
        body = {"image": GOOD}
        for wrong in ({}, {"Authorization": "Bearer nope"}, {"Authorization": "s3cret"},
                      {"Authorization": "Basic s3cret"}, {"Authorization": "Bearer s3cretx"},
                      {"Authorization": "Bearer \xfc"}):  # fmt: skip
            response = post(service, body, **wrong)
            assert response.status_code == response.json()["errorCode"] == 401
            assert response.headers["WWW-Authenticate"] == "Bearer"
        assert post(service, body, Authorization="Bearer s3cret").status_code == 200
        assert post(service, body, Authorization="bearer s3cret").status_code == 200
        assert requests.get(service.address + "/health", timeout=20).status_code == 200
        document = requests.get(service.address + "/openapi.json", timeout=20).json()
        assert document["paths"][PATH]["post"]["security"] == [{"HTTPBearer": []}]
        assert service.batcher.ready
        assert len(service.detector.seen) == 2  # nobody else got so far
