"""Many clients, slow ones, dead ones: nothing is lost, and nobody waits for another's fault."""

from __future__ import annotations

import json
import socket
import struct
import time

import pytest
import requests

from kptk.serving import ServeOptions
from tests.serving.running import (
    PATH,
    Service,
    encoded,
    in_threads,
    picture,
    read_all,
    right_edge,
    running,
)
from tests.serving.running import wait_for as until


def length(body: bytes) -> str:
    return f"Content-Length: {len(body)}"


def body_of(number: int) -> bytes:
    return json.dumps({"image": encoded(picture(number)), "visualize": False}).encode()


def status(raw: bytes) -> int:
    return int(raw.split(b" ", 2)[1])


def block(service: Service, number: int = 0) -> socket.socket:
    """Shut the gate and send a picture that keeps the worker busy."""
    service.detector.gate.clear()
    line = service.send(length(body_of(number)) + "\r\nConnection: close", body_of(number))
    until(lambda: service.detector.seen)
    return line


def test_hundreds_at_once_get_each_their_own_answer() -> None:
    def ask(index: int) -> tuple[int, str, float]:
        response = service.ask(index, logId=f"id-{index}", visualize=index % 8 == 0)
        answer = response.json()
        return response.status_code, answer["logId"], answer["result"]["persons"][0]["bbox"][2]

    numbers = [n for n in range(256) if n != 13]
    with running(ServeOptions(max_batch=16)) as service:
        finish = in_threads(len(numbers), lambda i: ask(numbers[i]))
        assert finish() == [(200, f"id-{n}", right_edge(n)) for n in numbers]
        seen = service.detector.seen
        assert sorted(n for batch in seen for n in batch) == numbers  # each once
        assert max(map(len, seen)) <= 16


def test_what_waits_is_run_together_and_a_bad_picture_fails_alone() -> None:
    with running(ServeOptions(max_batch=4)) as service:
        first = block(service)
        damaged = encoded(picture(9)[:-30])
        finish = in_threads(
            7, lambda i: service.ask(i + 1, **({"image": damaged} if i == 3 else {}))
        )
        until(lambda: service.batcher.waiting == 7)
        service.detector.gate.set()
        answers = finish()
        assert status(read_all(first)) == 200
        assert [a.status_code for a in answers] == [200] * 3 + [422] + [200] * 3
        assert "damaged" in answers[3].json()["errorMsg"]
        edges = [a.json()["result"]["persons"][0]["bbox"][2] for a in answers if a.ok]
        assert edges == [right_edge(n) for n in (1, 2, 3, 5, 6, 7)]
        # 8 pictures: one that blocked, then 4 and 3 together, of which one could not be read
        assert [len(batch) for batch in service.detector.seen] in ([1, 4, 2], [1, 3, 3])


def test_a_batch_that_fails_is_run_again_one_by_one() -> None:
    with running() as service:
        first = block(service)
        finish = in_threads(3, lambda i: service.ask(12 + i))
        until(lambda: service.batcher.waiting == 3)
        service.detector.gate.set()
        assert [answer.status_code for answer in finish()] == [200, 500, 200]
        assert status(read_all(first)) == 200
        assert [len(batch) for batch in service.detector.seen] == [1, 3, 1, 1, 1]


def test_batches_share_a_threshold() -> None:
    with running() as service:
        first = block(service)
        finish = in_threads(4, lambda i: service.ask(i + 1, detThreshold=0.95 if i % 2 else 0.1))
        until(lambda: service.batcher.waiting == 4)
        service.detector.gate.set()
        people = [len(answer.json()["result"]["persons"]) for answer in finish()]
        assert people == [1, 0, 1, 0]
        assert status(read_all(first)) == 200
        assert sorted(sorted(batch) for batch in service.detector.seen) == [[0], [1, 3], [2, 4]]


def test_a_full_queue_says_when_to_come_again() -> None:
    with running(ServeOptions(max_queue=1)) as service:
        first = block(service)
        finish = in_threads(1, lambda _: service.ask(1))
        until(lambda: service.batcher.waiting == 1)
        refused = service.ask(2, logId="x")
        assert (refused.status_code, refused.json()["errorCode"]) == (503, 503)
        assert refused.json()["logId"] == "x"
        assert int(refused.headers["Retry-After"]) >= 1
        service.detector.gate.set()
        assert finish()[0].status_code == status(read_all(first)) == 200


def test_an_answer_that_takes_too_long() -> None:
    with running(ServeOptions(timeout=3)) as service:  # the last one must succeed within it
        first = block(service)
        late = service.ask(1, logId="x")
        assert (late.status_code, late.json()["errorCode"], late.json()["logId"]) == (504, 504, "x")
        assert status(read_all(first)) == 504
        assert service.batcher.waiting == 0  # it gave its place up
        service.detector.gate.set()
        assert service.ask(2).status_code == 200
        assert service.detector.seen == [[0], [2]]


@pytest.mark.parametrize("how", ["reset", "closed"])
def test_a_client_killed_while_it_waits_frees_its_place(how: str) -> None:
    with running() as service:
        first = block(service)
        line = service.send(length(body_of(1)), body_of(1))
        until(lambda: service.batcher.waiting == 1)
        if how == "reset":
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        line.close()
        until(lambda: service.batcher.waiting == 0)
        service.detector.gate.set()
        assert service.ask(2).status_code == status(read_all(first)) == 200
        assert service.detector.seen == [[0], [2]]


def test_a_client_killed_while_it_sends_costs_nobody_anything() -> None:
    with running() as service:
        for sent in (0, 1, 40):
            service.send(length(body_of(1)), body_of(1)[:sent]).close()
        assert service.ask(2).status_code == 200
        assert service.detector.seen == [[2]]


def test_a_slow_sender_holds_up_nobody_and_is_cut_off() -> None:
    with running(ServeOptions(body_timeout=1)) as service:
        line = service.send(length(body_of(1)))
        line.settimeout(0.02)
        answer, asked = b"", False
        for byte in body_of(1) * 50:  # more than can be sent, a byte each 20 ms
            if not asked:
                assert service.ask(2).status_code == 200
                asked = True
            line.sendall(bytes([byte]))
            try:
                answer += line.recv(1 << 16)
                if answer.endswith(b"}"):
                    break
            except TimeoutError:
                continue
        assert status(answer) == json.loads(answer.split(b"\r\n\r\n")[1])["errorCode"] == 408
        line.close()
        assert service.detector.seen == [[2]]


@pytest.mark.parametrize("head", ["", "POST / HTTP/1.1\r\nHost:"])
def test_a_head_that_does_not_come_is_cut_off(head: str) -> None:
    with (
        running(ServeOptions(body_timeout=0.3)) as service,
        socket.create_connection(service.place, timeout=20) as line,
    ):
        line.sendall(head.encode())
        assert read_all(line) == b""


def test_a_request_sent_before_the_last_answer_came_has_its_full_time() -> None:
    with running(ServeOptions(body_timeout=1)) as service:
        service.detector.gate.clear()
        head = f"{length(body_of(1))}\r\nConnection: close\r\n\r\n".encode()
        post = f"POST {PATH} HTTP/1.1\r\nHost: x\r\n".encode() + head + body_of(1)
        with socket.create_connection(service.place, timeout=20) as line:
            line.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" + post)
            until(lambda: service.detector.seen)
            time.sleep(1.5)  # longer than a head may take
            service.detector.gate.set()
            answers = read_all(line)
        assert answers.count(b"Healthy") == answers.count(b"Success") == 1


def hungry(service: Service) -> socket.socket:
    """A connection with little room for answers, and more requests than these hold."""
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.settimeout(20)
    line.connect(service.place)
    body = json.dumps({"image": encoded(picture(1)), "logId": "x" * 128}).encode()
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\n{length(body)}\r\n\r\n".encode()
    line.sendall((head + body) * 60)  # answers of some 3 kB
    return line


def test_a_client_that_reads_nothing_is_cut_off() -> None:
    with running(ServeOptions(body_timeout=1), send_buffer=4096) as service:
        with hungry(service) as line:
            until(lambda: service.server.server_state.connections)
            until(lambda: not service.server.server_state.connections)
            cut = read_all(line).count(b"Success")
        assert 0 < cut < 60
        assert service.ask(2).status_code == 200


def test_a_client_that_reads_slowly_gets_everything() -> None:
    with running(ServeOptions(body_timeout=1.5), send_buffer=4096) as service:
        data = bytearray()
        with hungry(service) as line:
            while data.count(b"Success") < 60 and (chunk := line.recv(2048)):
                data += chunk
                time.sleep(0.03)  # 2.6 s in all, beyond the limit for standing still
        assert data.count(b"Success") == 60


def test_a_refused_body_is_thrown_away_so_that_the_answer_can_be_read() -> None:
    with running(ServeOptions(max_body_mb=0.1)) as service:
        response = requests.post(service.address + PATH, data=b"x" * 8_000_000, timeout=20)
        assert response.status_code == response.json()["errorCode"] == 413
        chunks = (b"x" * 50_000 for _ in range(40))  # chunked: no length is stated
        response = requests.post(service.address + PATH, data=chunks, timeout=20)
        assert response.status_code == 413


def test_answers_are_sent_without_delay() -> None:
    """Without TCP_NODELAY each answer takes 40 ms longer, until the client's acknowledgement."""
    with running() as service, requests.Session() as client:
        client.get(service.address + "/health", timeout=20)
        (connection,) = service.server.server_state.connections
        line = connection.transport.get_extra_info("socket")
        assert line.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_all_bodies_together_are_limited() -> None:
    with running(ServeOptions(max_body_mb=1, max_total_mb=1.5)) as service:
        mib = 1 << 20
        head = f"Content-Length: {mib}\r\nConnection: close"
        lines = [service.send(head, b" " * (mib - 1)) for _ in range(2)]
        until(lambda: any(map(has_answer, lines)))
        refused = next(line for line in lines if has_answer(line))
        assert status(read_all(refused)) == 503
        other = lines[1 - lines.index(refused)]
        other.sendall(b" ")
        assert status(read_all(other)) == 422  # it came in, and is no JSON
        refused.close()
        assert service.ask(1).status_code == 200


def has_answer(line: socket.socket) -> bool:
    line.setblocking(False)
    try:
        return bool(line.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False
    finally:
        line.settimeout(20)
