"""Saving and loading while tensors are small: what goes through has full size."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, final

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle


@final
class Doors:
    """Hooks of `state_dict` and `load_state_dict`, of modules and optimizers.

    A module's `state_dict()` holds copies of full size; loading expands first. An optimizer is
    expanded while it writes its state. Copies and pickles of the model carry nothing of this.

    Args:
        widened: a full copy of a small tensor, None for one that is not small.
        expand: makes everything full.
        settle: makes it small again, where it should be.
    """

    def __init__(
        self,
        widened: Callable[[Tensor], Tensor | None],
        expand: Callable[[], None],
        settle: Callable[[], None],
    ) -> None:
        self._widened, self._expand, self._settle = widened, expand, settle
        self._handles: list[RemovableHandle] = []

    @property
    def are_open(self) -> bool:
        """Whether the hooks are in place."""
        return bool(self._handles)

    def open(self, modules: Iterable[nn.Module], optimizers: Iterable[Optimizer]) -> None:
        """Put the hooks in place, once."""
        if self._handles:
            return
        for module in modules:
            self._handles += [
                module.register_state_dict_post_hook(_Saving(self._widened)),
                module.register_load_state_dict_pre_hook(_Loading(self._expand)),
            ]
        for optimizer in optimizers:
            self._handles += [
                optimizer.register_state_dict_pre_hook(lambda _: self._expand()),
                optimizer.register_state_dict_post_hook(lambda _, __: self._settle()),
                optimizer.register_load_state_dict_pre_hook(lambda _, __: self._expand()),
            ]

    def close(self) -> None:
        """Remove every hook; not from within one."""
        for handle in self._handles:
            handle.remove()
        self._handles = []


def _nothing(*_: Any) -> None:
    """What a copy of a hook does."""


def _inert() -> Callable[..., None]:
    return _nothing


class _Hook:
    """Copies and pickles of a module hold `_nothing` in the place of the hook."""

    def __deepcopy__(self, memo: Any) -> Callable[..., None]:
        return _nothing

    def __reduce__(self) -> tuple[Callable[[], Callable[..., None]], tuple[()]]:
        return _inert, ()


@final
class _Saving(_Hook):
    """Full copies take the place of the small tensors that a module itself holds."""

    def __init__(self, widened: Callable[[Tensor], Tensor | None]) -> None:
        self._widened = widened

    def __call__(self, module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
        for attribute, tensor in (*module._parameters.items(), *module._buffers.items()):
            full = None if tensor is None else self._widened(tensor)
            if full is not None and f"{prefix}{attribute}" in state:
                state[f"{prefix}{attribute}"] = full


@final
class _Loading(_Hook):
    """Loading finds the full tensors."""

    def __init__(self, expand: Callable[[], None]) -> None:
        self._expand = expand

    def __call__(self, *_: Any) -> None:
        self._expand()
