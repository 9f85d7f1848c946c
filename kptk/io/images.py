"""One image, wherever it comes from and however it is encoded → RGB uint8 (H, W, 3).

The rules for everything unusual stand here: alpha is laid over white, 16-bit values are scaled
to 8, of an animation the first frame counts, EXIF orientation is applied.
"""

from __future__ import annotations

import io
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Any
from urllib.request import Request

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError

from kptk.errors import InputError, nearest
from kptk.files import offline

MAX_DOWNLOAD_BYTES = 64 * 1024 * 1024
DOWNLOAD_TIMEOUT = 20.0  # seconds without an answer; a whole download may take three times that

# fmt: off
IMAGE_SUFFIXES = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff",
    ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif", ".mpo",
))
VIDEO_SUFFIXES = frozenset((
    ".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".wmv", ".flv", ".mpg", ".mpeg", ".3gp",
    ".3g2", ".ts", ".mts", ".m2ts", ".ogv",
))
# fmt: on

# Named, because Pillow would otherwise hand PostScript to an outside program.
_FORMATS = ("JPEG", "PNG", "BMP", "DIB", "GIF", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF", "MPO")
_SUPPORTED = "JPEG, PNG, BMP, GIF, WebP, TIFF, PPM, JPEG 2000 or AVIF"


def is_url(text: str) -> bool:
    """Whether a string names a place by scheme (``http://…``) rather than a file."""
    return re.match(r"[A-Za-z][\w+.-]+://", text) is not None


def fetch(
    url: str,
    opener: urllib.request.OpenerDirector | None = None,
    max_bytes: int | None = None,
) -> bytes:
    """Get the bytes behind an http(s) URL, within a time and a size limit.

    Args:
        url: its address.
        opener: makes the connections; None: any host, by way of the proxies of the environment.
        max_bytes: the most that is read; None: MAX_DOWNLOAD_BYTES.

    Raises:
        InputError: another scheme, no answer, an error status, or too much data.
    """
    if not re.match(r"https?://", url, re.IGNORECASE):
        raise InputError(f"A URL must start with http:// or https://. Got {url!r}.")
    if offline():
        raise InputError(f"KPTK_OFFLINE=1 forbids fetching {url}. Save the image and pass it.")
    plain = urllib.parse.quote(url, safe="%/:=&?~#+!$,;'@()*[]")
    if opener is None:
        web = urllib.request
        opener = http_opener(web.ProxyHandler(), web.HTTPHandler(), web.HTTPSHandler())
    try:
        request = Request(plain, headers={"User-Agent": "kptk"})
        with opener.open(request, timeout=DOWNLOAD_TIMEOUT) as response:
            limit = MAX_DOWNLOAD_BYTES if max_bytes is None else max_bytes
            deadline = time.monotonic() + 3 * DOWNLOAD_TIMEOUT
            data = bytearray()
            while chunk := response.read(1 << 16):
                data += chunk
                if len(data) > limit:
                    raise InputError(f"{url} holds more than {limit / 2**20:.4g} MiB: too large.")
                if time.monotonic() > deadline:
                    raise InputError(
                        f"{url} took more than {3 * DOWNLOAD_TIMEOUT:g} seconds: given up."
                    )
            return bytes(data)
    except urllib.error.HTTPError as error:
        raise InputError(f"{url} cannot be fetched: the server says {error.code}.") from error
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = getattr(error, "reason", None) or error
        raise InputError(f"{url} cannot be fetched: {reason}.") from error


def http_opener(*handlers: urllib.request.BaseHandler) -> urllib.request.OpenerDirector:
    """An opener that speaks HTTP only, so that no redirect leads to a file or to FTP.

    Args:
        handlers: what makes the connections.
    """
    opener = urllib.request.OpenerDirector()
    ours = (
        urllib.request.UnknownHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        _Redirects(),
        urllib.request.HTTPErrorProcessor(),
    )
    for handler in (*handlers, *ours):
        opener.add_handler(handler)
    return opener


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects without the pages that come with them, which urllib reads to the end."""

    def http_error_302(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage
    ) -> Any:
        fp.close()
        return super().http_error_302(req, io.BytesIO(), code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def read_image(source: str | os.PathLike[str] | bytes) -> NDArray[np.uint8]:
    """Read one image from a file, an http(s) URL or encoded bytes.

    Args:
        source: path, URL, or the bytes of an image file.

    Returns:
        RGB uint8 (H, W, 3), EXIF orientation applied. Transparency is composited over white,
        16-bit grey is scaled to 8 bits, of an animation the first frame is taken.

    Raises:
        InputError: the file is missing, empty, truncated or no image.
    """
    if isinstance(source, bytes):
        return decode_image(source, "The bytes")
    text = os.fspath(source)
    if is_url(text):
        return decode_image(fetch(text), f"The content of {text}")
    path = Path(os.path.expanduser(text))
    check_path(path)
    if path.is_dir():
        raise InputError(f"{path} must be an image file. Got a folder.")
    if path.suffix.lower() in VIDEO_SUFFIXES:
        raise InputError(
            f"{path} is a video, and one image is wanted here. A pipeline's predict takes videos."
        )
    if not path.is_file():
        raise InputError(f"{path} must be a regular file. Got a device, pipe or socket.")
    try:
        if path.stat().st_size == 0:
            raise InputError(f"{path} must be an image. Got 0 bytes: it is empty.")
        with path.open("rb") as file, _opened(file, str(path)) as image:
            return from_pil(image, str(path))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error


def decode_image(data: bytes, label: str) -> NDArray[np.uint8]:
    """Decode an image file's bytes to RGB uint8 (H, W, 3); ``label`` names it in errors."""
    with _opened(data, label) as image:
        return from_pil(image, label)


def image_size(data: bytes, label: str) -> tuple[int, int]:
    """Read (height, width) in pixels from an image file's first bytes, decoding none of it.

    Raises:
        InputError: it is empty or no image, or PIL's limit forbids opening it.
    """
    with _opened(data, label) as image:
        return image.height, image.width


def read_array(path: Path, channel_order: str = "rgb") -> NDArray[np.uint8]:
    """Read an image saved by ``numpy.save``; see :func:`from_array`."""
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} must be an array in NumPy's .npy format: {error}") from error
    return from_array(array, channel_order=channel_order, label=str(path))


def check_path(path: Path) -> None:
    """Raise InputError, with the nearest name there is, when nothing lies at ``path``."""
    try:
        if path.exists():
            return
        known = ("", *IMAGE_SUFFIXES, *VIDEO_SUFFIXES)
        names = [n for n in os.listdir(path.parent) if os.path.splitext(n)[1].lower() in known]
    except (OSError, ValueError):
        names = []
    if any(char in path.name for char in "*?["):
        raise InputError(
            f"{path} does not exist. Patterns are not expanded: pass Path(folder).glob(pattern)."
        )
    if not path.parent.is_dir():
        raise InputError(f"{path} does not exist: there is no folder {str(path.parent)!r}.")
    raise InputError(f"{path} does not exist.{nearest(path.name, names)}")


@contextmanager
def _opened(source: IO[bytes] | bytes, label: str) -> Iterator[Image.Image]:
    """The image, not decoded yet; what goes wrong with it is an InputError."""
    if not source:
        raise InputError(f"{label} must be an image. Got 0 bytes: it is empty.")
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    page = (b"<!doctype html", b"<html")
    if isinstance(source, bytes) and source[:256].lstrip().lower().startswith(page):
        raise InputError(
            f"{label} must be an image. Got an HTML page: use the address of the image itself."
        )
    Image.init()
    try:
        with Image.open(file, formats=[f for f in _FORMATS if f in Image.OPEN]) as image:
            yield image
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(
            f"{label} is too large to be opened safely: {error} Make it smaller, or raise "
            "PIL.Image.MAX_IMAGE_PIXELS if you trust it."
        ) from error
    except UnidentifiedImageError as error:
        raise InputError(
            f"{label} must be an image ({_SUPPORTED}). Its content is none of these."
        ) from error
    except Exception as error:  # a damaged header may raise anything
        raise InputError(f"{label} is a damaged image: {error}.") from error


def from_pil(image: Image.Image, label: str = "The PIL image") -> NDArray[np.uint8]:
    """Turn a PIL image of any mode into RGB uint8 (H, W, 3), EXIF orientation applied.

    Raises:
        InputError: its file turns out to be damaged or closed.
    """
    # Importing ppdet tells Pillow, for the whole process, to fill truncated files with grey.
    fill, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    try:
        image.load()
    except Exception as error:  # decoders raise SyntaxError, struct.error, EOFError, zlib.error ...
        raise InputError(f"{label} is a damaged image: {error}.") from error
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = fill
    with suppress(Exception):  # a damaged EXIF block says nothing about the pixels
        if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:  # or else it would be copied
            image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):  # 16 bits by definition, however dark the image is
        return _stack_grey(_to_8_bits(np.asarray(image).astype(np.uint16)))
    if image.mode in ("I", "F"):
        return from_array(np.asarray(image), label=label)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        return _over_white(np.asarray(image.convert("RGBA")))
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def from_array(
    array: NDArray[Any], *, channel_order: str = "rgb", label: str = "The array"
) -> NDArray[np.uint8]:
    """Turn an array into RGB uint8 (H, W, 3).

    Args:
        array: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4: alpha, composited over white).
            uint8; other integers from 0 to 255; uint16 above that, scaled by 1/257;
            floats within [0, 1], scaled by 255.
        channel_order: ``"rgb"`` or ``"bgr"``: the order of the array's colours.
        label: how to call it in errors.

    Returns:
        A new array: a buffer that is used again, as of a camera, changes no result.

    Raises:
        InputError: another shape or dtype, values out of range, NaN or infinity.
    """
    shape = array.shape
    if array.ndim == 4:
        raise InputError(
            f"{label} must be one image (H, W, 3). Got a batch of shape {shape}: pass list(batch)."
        )
    if array.ndim not in (2, 3) or (array.ndim == 3 and shape[2] not in (1, 3, 4)):
        channels_first = array.ndim == 3 and shape[0] in (1, 3, 4)
        advice = " Channels come last: use array.transpose(1, 2, 0)." if channels_first else ""
        raise InputError(
            f"{label} must have shape (H, W), (H, W, 3) or (H, W, 4). Got {shape}.{advice}"
        )
    if 0 in shape:
        raise InputError(f"{label} must hold at least one pixel. Got shape {shape}.")
    pixels = _as_uint8(array, label)
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        return _stack_grey(pixels.reshape(pixels.shape[:2]))
    if channel_order == "bgr":
        pixels = pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]
    return _over_white(pixels) if pixels.shape[2] == 4 else np.array(pixels, order="C")


def _as_uint8(array: NDArray[Any], label: str) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind not in "iuf":
        raise InputError(f"{label} must be uint8, or float in [0, 1]. Got dtype {array.dtype}.")
    low, high = float(array.min()), float(array.max())
    if array.dtype.kind == "f":
        if not np.isfinite([low, high]).all():
            raise InputError(f"{label} must be finite. Got NaN or infinity in it.")
        if low < -1e-6 or high > 1 + 1e-6:
            advice = " Use array.astype(np.uint8)." if low >= 0 and 1 < high <= 255 else ""
            raise InputError(
                f"{label} of floats must lie within [0, 1]. Got {low:g} to {high:g}.{advice}"
            )
        scaled: NDArray[Any] = np.rint(np.clip(array, 0, 1) * 255)
        return scaled.astype(np.uint8)
    if low >= 0 and high <= 255:
        return array.astype(np.uint8)
    # Pillow's mode "I" holds 16-bit images as int32.
    if low >= 0 and high <= 65535 and array.dtype in (np.uint16, np.int32):
        return _to_8_bits(array)
    raise InputError(
        f"{label} must hold values from 0 to 255. Got {array.dtype} from {low:g} to {high:g}."
    )


def _to_8_bits(array: NDArray[Any]) -> NDArray[np.uint8]:
    return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _stack_grey(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(grey[..., None], 3, axis=2)


def _over_white(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    alpha = rgba[..., 3:].astype(np.uint16)
    blended = rgba[..., :3] * alpha + 255 * (255 - alpha)
    return ((blended + 127) // 255).astype(np.uint8)
