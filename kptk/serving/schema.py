"""What goes over the wire, in PaddleX's names, and what the service allows."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field

from kptk.errors import ConfigError

if TYPE_CHECKING:
    from kptk.pipeline.results import PoseResult

TOKEN_VARIABLE = "KPTK_SERVE_TOKEN"
Number = float | None  # None where a keypoint is missing


class DetectionRequest(BaseModel):
    """Whom to look for, and where. Other properties are ignored."""

    image: str = Field(
        min_length=1, description="The image file in base64, or its URL where allowed."
    )
    detThreshold: float | None = Field(
        None, ge=0, le=1, allow_inf_nan=False, description="Lowest score of a person."
    )
    visualize: bool | None = Field(None, description="Whether an image comes back; null means yes.")
    logId: str | None = Field(None, max_length=128, description="Comes back as it is.")


class Person(BaseModel):
    """One person."""

    bbox: list[float] = Field(description="x1, y1, x2, y2 in pixels.")
    kpts: list[list[Number]] = Field(description="x, y in pixels, score; 17 of COCO's.")
    detScore: float
    kptScore: Number = Field(description="Mean score of the keypoints.")


class DetectionResult(BaseModel):
    """The people, the surest first."""

    persons: list[Person]
    image: str | None = Field(
        None, description="The image with the people drawn, a JPEG in base64."
    )


class DetectionResponse(BaseModel):
    """A result."""

    logId: str
    result: DetectionResult
    errorCode: Literal[0]
    errorMsg: Literal["Success"]


class HealthResponse(BaseModel):
    """The service is ready."""

    logId: str
    errorCode: Literal[0]
    errorMsg: Literal["Healthy"]


class ErrorResponse(BaseModel):
    """Any other answer."""

    logId: str
    errorCode: int = Field(ge=400, le=599, description="HTTP's status.")
    errorMsg: str


def persons(result: PoseResult) -> list[dict[str, Any]]:
    """The people of a result."""
    names = {"bbox": "coordinate", "kpts": "keypoints", "detScore": "det_score",
             "kptScore": "kpt_score"}  # fmt: skip
    return [{ours: person[its] for ours, its in names.items()} for person in result.json["boxes"]]


@dataclass(frozen=True)
class ServeOptions:
    """The limits of the service. Each is a number above 0.

    Attributes:
        max_body_mb: MiB of a request's body. Base64 makes an image a third larger.
        max_total_mb: MiB of all bodies that are held at a time.
        max_pixels: width x height of an image.
        max_batch: images that go through the pipeline together.
        max_queue: images that may wait for the pipeline.
        body_timeout: seconds in which a request must have come in: its head, then its body.
        timeout: seconds from then to the answer.
        allow_urls: whether ``image`` may be an http(s) URL, which the service then fetches.
        token: what clients must send as ``Authorization: Bearer …``; None: nothing.
    """

    max_body_mb: float = 32
    max_total_mb: float = 512
    max_pixels: float = 25_000_000
    max_batch: int = 8
    max_queue: int = 256
    body_timeout: float = 20
    timeout: float = 60
    allow_urls: bool = False
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for limit in fields(self)[:-2]:
            value = getattr(self, limit.name)
            if not value > 0 or not math.isfinite(value):
                raise ConfigError(f"{limit.name} must be a number above 0. Got {value!r}.")
        if self.token is not None:
            _check_token(self.token, "token")

    @property
    def max_body(self) -> int:
        """Bytes of a request's body."""
        return int(self.max_body_mb * 2**20)


def read_token(path: Path | None) -> str | None:
    """Return the token in a file, else in ``KPTK_SERVE_TOKEN``, else None.

    Raises:
        ConfigError: the file cannot be read, or what it holds cannot be a token.
    """
    if path is None:
        token = os.environ.get(TOKEN_VARIABLE)
        return None if token is None else _check_token(token.strip(), TOKEN_VARIABLE)
    try:
        return _check_token(path.read_text(encoding="utf-8").strip(), str(path))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} must hold the token as text. Got other bytes.") from error


def _check_token(token: str, where: str) -> str:
    """One that is empty would let everybody in; one with spaces or the like cannot be sent."""
    if not token or not all(33 <= ord(char) <= 126 for char in token):
        raise ConfigError(
            f"{where} must hold a token of letters, digits and signs without spaces. Make one "
            "with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
        )
    return token
