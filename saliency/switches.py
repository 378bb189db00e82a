"""Switch a backend of torch off for a while."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def switched_off(backend: Any) -> Iterator[None]:
    """Inside the block a backend of `torch.backends` is not used; after it all is as before.

    The backend's own context manager works where plain assignment is forbidden for the process,
    and may warn of its other switches, which stay what they are.

    >>> import torch
    >>> before = torch.backends.mkldnn.enabled
    >>> with switched_off(torch.backends.mkldnn):
    ...     torch.backends.mkldnn.enabled
    False
    >>> torch.backends.mkldnn.enabled == before
    True
    """
    switch = backend.flags(enabled=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        switch.__enter__()
    try:
        yield
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            switch.__exit__(None, None, None)
