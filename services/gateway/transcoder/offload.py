"""Keeps long conversions off the event loop."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

# At some 15 MB/s a conversion of this size takes about 5 ms; a thread costs a tenth of a millisecond.
INLINE_BYTES = 64 * 1024


async def sized(size: int, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call *function*, in a thread if *size* bytes of input would hold up the loop."""
    if size <= INLINE_BYTES:
        return function(*args, **kwargs)
    return await asyncio.to_thread(function, *args, **kwargs)
