"""One parameter under watch: its gradient is masked, its sleeping and frozen entries are kept."""

from __future__ import annotations

import weakref
from typing import final

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.utils.hooks import RemovableHandle

from sleepengine.enforcement.bit_masks import AndMask, Expander, and_, restore_
from sleepengine.masks import bits as packed
from sleepengine.masks.parked import Parked

_ref = weakref.ref


@final
class Watched:
    """A parameter with inactive entries, or one whose dense gradient is wanted.

    It is itself the hook that runs after a gradient was accumulated, so that clipping, gradient
    scaling and everything else after backward see the gradient of the awake network.

    Attributes:
        trainable: keeps gradient entries that are awake and not frozen; None keeps all.
        awake: keeps value entries that are awake; None keeps all.
        frozen: values of frozen entries that are awake, as they must stay; None = there are none.
            A buffer of full size is made of them once a step needs repair.
        value_version: the parameter's version at our last look; another one is a write by others.
    """

    __slots__ = (
        "__weakref__",
        "_capturing",
        "_dense",
        "_grad",
        "_grad_version",
        "_handle",
        "_inactive",
        "_raw",
        "_saved",
        "awake",
        "frozen",
        "name",
        "param",
        "trainable",
        "value_version",
    )

    def __init__(self, name: str, param: Parameter) -> None:
        self.name = name
        self.param = param
        self.trainable: AndMask | None = None
        self.awake: AndMask | None = None
        self.frozen: Parked | None = None
        self.value_version = param._version
        self._handle: RemovableHandle | None = None
        # The gradient that we masked last, and its version then: unchanged means still masked.
        self._grad: weakref.ref[Tensor] | None = None
        self._grad_version = -1
        self._capturing = False
        self._dense: Tensor | None = None
        self._raw = False  # whether the dense gradient is as the backward passes left it
        self._inactive: AndMask | None = None
        self._saved: Tensor | None = None

    @property
    def is_idle(self) -> bool:
        """True when there is nothing left to do for this parameter."""
        return self.trainable is None and not self._capturing

    @property
    def nbytes(self) -> int:
        """Bytes of expanded masks and of kept frozen values."""
        masks = {id(mask): mask.nbytes for mask in (self.trainable, self.awake) if mask}
        saved = 0 if self._saved is None else self._saved.numel() * self._saved.element_size()
        return sum(masks.values()) + saved + (0 if self.frozen is None else self.frozen.nbytes)

    def register(self) -> None:
        """Run after every accumulation from now on; a parameter without gradient waits."""
        if self._handle is None and self.param.requires_grad:
            self._handle = self.param.register_post_accumulate_grad_hook(self)

    def remove(self) -> None:
        """Run no more."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def set_masks(
        self,
        trainable: Tensor | None,
        asleep: Tensor | None,
        expander: Expander,
        lean: bool,
    ) -> None:
        """New masks: packed bits of the entries that may train, and of those asleep."""
        self._inactive = None
        self._grad = None
        if trainable is None:
            self.trainable = self.awake = None
            return
        if asleep is None:
            self.trainable, self.awake = AndMask(trainable, self.param, expander, lean=lean), None
            return
        # The store holds the bits of the sleepers: where nothing else rests, they are enough.
        self.awake = AndMask(None, self.param, expander, lean=lean, drop=asleep)
        if torch.equal(self.awake.bits, trainable):
            self.trainable = self.awake
        else:
            self.trainable = AndMask(trainable, self.param, expander, lean=lean)

    def __call__(self, param: Parameter) -> None:
        """Mask the gradient that was just accumulated, after taking the dense one if wanted."""
        grad = param.grad
        if grad is None:  # a hook before ours has stepped and cleared it
            return
        if self._capturing:
            self._capture(grad)
        if self.trainable is not None:
            and_(grad, self.trainable)
        self._grad = _ref(grad)
        self._grad_version = grad._version

    def mask_gradient(self, always: bool = False) -> None:
        """Mask the pending gradient, unless it is the one that we left behind."""
        grad = self.param.grad
        if grad is None:
            return
        known = self._grad is not None and self._grad() is grad
        if self._capturing and self._dense is None:
            self._capture(grad)
            self._raw = False
        if self.trainable is None or (known and not always and grad._version == self._grad_version):
            return
        and_(grad, self.trainable)
        self._grad = weakref.ref(grad)
        self._grad_version = grad._version

    def repair(self, *, asleep: bool = True, frozen: bool = True, lean: bool = False) -> None:
        """Sleeping entries +0.0 again, frozen entries their kept values again."""
        if frozen and self.frozen is not None and self.trainable is not None and not lean:
            if self._saved is None:
                self._saved = torch.zeros_like(self.param, requires_grad=False)
                self.frozen.fill_into(self._saved, self.frozen.bits)
            restore_(self.param, self.trainable, self._saved)
            return
        if asleep and self.awake is not None:
            and_(self.param, self.awake)
        if frozen and self.frozen is not None:
            self.frozen.fill_into(self.param, self.frozen.bits)

    def keep_frozen(self, bits: Tensor | None, anew: bool = False) -> None:
        """Keep the values of these frozen entries; those kept already stay, unless `anew`."""
        self._saved = None
        if bits is None or not packed.any_set(bits):
            self.frozen = None
            return
        if self.frozen is None or anew:
            param = self.param
            self.frozen = Parked(param.shape, param.dtype, device=param.device)
        held = self.frozen.bits
        self.frozen.discard(packed.bit_andnot(held, bits))
        self.frozen.put(self.param, packed.bit_andnot(bits, held))

    def look(self) -> None:
        """The values are as they should be now: a change from here on is a write by others."""
        self.value_version = self.param._version

    def was_written(self) -> bool:
        """True when the values changed since our last look."""
        return self.value_version != self.param._version

    def adopt_frozen(self, values: Parked) -> None:
        """Keep these values from now on, in place of those of the parameter."""
        self.frozen, self._saved = values, None

    def arm(self) -> None:
        """Keep the dense gradient of the backward passes from now on."""
        self._capturing = True
        self._dense = None

    def disarm(self) -> None:
        """Forget the dense gradient."""
        self._capturing = False
        self._dense = self._inactive = None

    def dense_gradient(self) -> Tensor | None:
        """The dense gradient since `arm`; None when no backward reached the parameter."""
        return self._dense

    def unscale(self, factor: Tensor) -> None:
        """The dense gradient times a factor, unless that was done."""
        if self._dense is not None and self._raw:
            self._dense.mul_(factor.to(self._dense.device))
            self._raw = False

    def _capture(self, grad: Tensor) -> None:
        """Add this micro-batch's gradient of masked entries to those of earlier ones.

        At awake entries the gradient is the sum so far. At masked entries earlier micro-batches
        were cleared, so it is this micro-batch's part alone, and the sum is kept here.
        """
        now = grad.detach().to_dense() if grad.is_sparse else grad.detach()
        if self._dense is None or not self._raw or not self._continues(grad):
            self._dense, self._raw = now.clone(), True
            return
        if self.trainable is None:
            self._dense.copy_(now)
            return
        if self._inactive is None:
            bits = packed.bit_not(self.trainable.bits, grad.numel())
            self._inactive = AndMask(bits, self._dense, self.trainable.expander, lean=True)
        and_(self._dense, self._inactive)
        self._dense.add_(now)

    def _continues(self, grad: Tensor) -> bool:
        """True when this accumulation, and nothing else, was added to the gradient we masked."""
        same = self._grad is not None and self._grad() is grad
        return same and grad._version == self._grad_version + 1
