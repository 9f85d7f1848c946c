"""The ``image`` of a request → the bytes of an image file that may be opened."""

from __future__ import annotations

import base64
import re

from PIL.Image import DecompressionBombError

from kptk.errors import InputError, ServiceError
from kptk.images import image_size
from kptk.serving.fetch import fetch_public
from kptk.serving.options import ServeOptions
from kptk.web import is_url

_MAX_SIDE = 65_500  # pixels: what a JPEG, which goes back, can have
_SPACES = re.compile(r"\s+")


def load_picture(image: str, options: ServeOptions) -> bytes:
    """Decode or fetch a picture and look at its head.

    Args:
        image: base64, lines broken or not, or a URL.
        options: limits, and whether URLs are fetched.

    Returns:
        The image file, not decoded.

    Raises:
        ServiceError: 422, it is no image or may not be fetched; 413, it has too many pixels.
    """
    try:
        data = _fetch(image, options) if is_url(image) else _decode(image)
        height, width = image_size(data, "image")
    except InputError as error:
        status = 413 if isinstance(error.__cause__, DecompressionBombError) else 422
        raise ServiceError(status, str(error)) from error
    if height * width > options.max_pixels or max(height, width) > _MAX_SIDE:
        raise ServiceError(
            413,
            f"image may have {options.max_pixels:,.0f} pixels at most, and {_MAX_SIDE:,} a side. "
            f"Got {width} x {height}. Make it smaller.",
        )
    return data


def _fetch(url: str, options: ServeOptions) -> bytes:
    if not options.allow_urls:
        raise InputError("image must be base64: this service fetches no URLs (--allow-urls).")
    return fetch_public(url, options.max_body)


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(_SPACES.sub("", text), validate=True)
    except ValueError as error:  # binascii's own is one
        raise InputError(f"image must be an image file in base64, and is not: {error}.") from error
