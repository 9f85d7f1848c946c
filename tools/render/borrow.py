"""What compiled functions share: whether they can be kept on disk, and borrowed arrays.

numba counts references of every array a function receives, atomically; called a million times a
picture, that takes half of the time. A borrowed array is a bare view: the caller keeps the
original alive.
"""

from __future__ import annotations

from typing import Any

from numba import carray, njit, types
from numba.extending import intrinsic


@intrinsic
def _pointer(typing: Any, address: Any) -> Any:
    """An integer address as a pointer."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.uintp), generate


@njit(inline="always")
def borrow(array: Any) -> Any:
    """A bare view of a C-contiguous array, only for use inside compiled functions."""
    return carray(_pointer(array.ctypes.data), array.shape, array.dtype)


def _can_cache() -> bool:
    """Whether numba finds a place to keep compiled functions (it raises where it does not)."""
    try:
        njit(cache=True)(_can_cache)
    except RuntimeError:
        return False
    return True


CACHE = _can_cache()
