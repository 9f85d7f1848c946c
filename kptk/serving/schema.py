"""What goes over the wire: PaddleX's names, and the one envelope of every answer."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, Field

if TYPE_CHECKING:
    from kptk.results import PoseResult

Number = float | None  # None where a joint is missing


class DetectionRequest(BaseModel):
    """Whom to look for, and where. Other properties are ignored."""

    image: Annotated[
        str,
        Field(min_length=1, description="The image file in base64, or its URL where allowed."),
    ]
    detThreshold: Annotated[
        float | None,
        Field(ge=0, le=1, allow_inf_nan=False, description="Lowest score of a person."),
    ] = None
    visualize: Annotated[
        bool | None, Field(description="Whether a picture comes back; null means yes.")
    ] = None
    logId: Annotated[str | None, Field(max_length=128, description="Comes back as it is.")] = None


class Person(BaseModel):
    """One person."""

    bbox: Annotated[list[float], Field(description="x1, y1, x2, y2 in pixels.")]
    kpts: Annotated[list[list[Number]], Field(description="x, y in pixels, score; 17 of COCO's.")]
    detScore: float
    kptScore: Annotated[Number, Field(description="Mean score of the joints.")]


class DetectionResult(BaseModel):
    """The people, the surest first."""

    persons: list[Person]
    image: Annotated[str | None, Field(description="The drawn picture: a JPEG in base64.")] = None


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
    errorCode: Annotated[int, Field(ge=400, le=599, description="HTTP's status.")]
    errorMsg: str


def new_log_id() -> str:
    """A number for a request that brought none."""
    return str(uuid.uuid4())


def envelope(log_id: str, code: int, message: str, result: Any = None) -> dict[str, Any]:
    """The body of an answer; ``code`` is 0 or HTTP's status."""
    middle = {} if result is None else {"result": result}
    return {"logId": log_id, **middle, "errorCode": code, "errorMsg": message}


def persons(result: PoseResult) -> list[dict[str, Any]]:
    """The people of a result in PaddleX's names."""
    return [
        {
            "bbox": person["coordinate"],
            "kpts": person["keypoints"],
            "detScore": person["det_score"],
            "kptScore": person["kpt_score"],
        }
        for person in result.json["boxes"]
    ]
