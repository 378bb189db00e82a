"""Write docs/optimizers.md: what sleep and freeze do under every optimizer of torch.optim.

Every row is checked by a run before the page is written; text around the tables is the template's.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn, optim
from torch.optim import Optimizer

from sleepengine import SleepEngine
from sleepengine.enforcement.roster import Roster
from sleepengine.enforcement.state_table import TABLE, Fresh, StateRule, rule_for
from sleepengine.enforcement.verdicts import VERDICTS, needs_repair, problems

HERE = Path(__file__).parent
PAGE, TEXT = HERE / "optimizers.md", HERE / "optimizers.template.md"
WARM_UP, STEPS = 4, 12


@dataclass(frozen=True)
class Case:
    """One optimizer with the options that the page shows."""

    kind: type[Optimizer]
    shown: dict[str, Any] = field(default_factory=dict)
    more: tuple[dict[str, Any], ...] = ()  # options that create further state

    @property
    def options(self) -> str:
        """The options as they are written in a call."""
        return ", ".join(f"{key}={value}" for key, value in self.shown.items()) or "defaults"


_DECAY = {"weight_decay": 0.01}
CASES = (
    Case(optim.SGD, {"lr": 0.1, "momentum": 0.9, **_DECAY}),
    Case(optim.Adam, {"lr": 0.01, **_DECAY}, ({"amsgrad": True},)),
    Case(optim.AdamW, {"lr": 0.01}),
    Case(optim.NAdam, {"lr": 0.01}),
    Case(optim.RAdam, {"lr": 0.01}),
    Case(optim.Adamax, {"lr": 0.01}),
    Case(optim.Adagrad, {"lr": 0.1}),
    Case(optim.Adadelta),
    Case(optim.RMSprop, {"lr": 0.01, "momentum": 0.9}, ({"centered": True},)),
    Case(optim.Rprop),
    Case(optim.SparseAdam, {"lr": 0.01}),
    Case(optim.Adafactor),
    Case(optim.LBFGS, {"lr": 0.1}),
    Case(optim.ASGD),
    Case(optim.Muon),
)


class Toy(nn.Module):
    """One matrix that is pulled to random targets; the bias is there for its state."""

    def __init__(self) -> None:
        super().__init__()
        self.b = nn.Parameter(torch.ones(5))
        self.w = nn.Parameter(torch.randn(6, 5, generator=torch.Generator().manual_seed(1)))

    def step(self, optimizer: Optimizer, seed: int, inactive: Tensor | None = None) -> None:
        """One step; `inactive` is where a bare loop would zero the gradient itself."""

        def closure() -> Tensor:
            optimizer.zero_grad()
            target = torch.randn(6, 5, generator=torch.Generator().manual_seed(seed))
            loss = ((self.w - target) ** 2 * (1 + target.abs())).sum() + self.b.sum()
            loss.backward()
            grad = self.w.grad
            if grad is not None and inactive is not None:
                grad.masked_fill_(inactive, 0)
            if grad is not None and isinstance(optimizer, optim.SparseAdam):
                self.w.grad = grad.to_sparse(1)
            return loss

        if isinstance(optimizer, optim.LBFGS):
            optimizer.step(closure)
        else:
            closure()
            optimizer.step()


INDEX = torch.arange(30).view(6, 5)
ASLEEP, FROZEN = INDEX % 3 == 1, INDEX % 3 == 0


@dataclass(frozen=True)
class Run:
    """The weights at the end, and whether sleepers and frozen ones stayed to the bit."""

    weights: Tensor
    asleep: bool
    frozen: bool


Act = Callable[[Toy, Optimizer], None]


def run(
    case: Case, options: dict[str, Any], begin: Act, inactive: Tensor | None, after: Act
) -> Run:
    """Some steps, then `begin`, then more steps with `after` following each."""
    model = Toy()
    optimizer = case.kind([model.w], **options)
    for seed in range(WARM_UP):
        model.step(optimizer, seed)
    frozen = model.w.detach().clone()[FROZEN]
    begin(model, optimizer)
    for seed in range(WARM_UP, STEPS):
        model.step(optimizer, seed, inactive)
        after(model, optimizer)
    now = model.w.detach().clone()
    words = now.view(torch.int32)  # so that -0.0 counts
    return Run(now, not words[ASLEEP].any(), torch.equal(words[FROZEN], frozen.view(torch.int32)))


@torch.no_grad()
def zero(model: Toy, optimizer: Optimizer) -> None:
    """What a bare loop does: zero the weights once."""
    model.w[ASLEEP] = 0


def nothing(model: Toy, optimizer: Optimizer) -> None:
    """Leave it to the optimizer."""


def in_engine(case: Case, options: dict[str, Any]) -> Run:
    """The same with the engine, around a loop that masks nothing."""

    def begin(model: Toy, optimizer: Optimizer) -> None:
        with warnings.catch_warnings():  # the page quotes them
            warnings.simplefilter("ignore")
            engine = SleepEngine(model, optimizer, params="w", check_every=1).attach()
        engine.freeze_weights("w", FROZEN)
        engine.sleep_weights("w", ASLEEP)

    return run(case, options, begin, None, nothing)


def by_hand(case: Case, options: dict[str, Any]) -> Run:
    """The oracle: gradients, state and weights are written by hand around every step."""
    kept: list[Tensor] = []

    @torch.no_grad()
    def begin(model: Toy, optimizer: Optimizer) -> None:
        zero(model, optimizer)
        kept.append(model.w.clone())
        if isinstance(optimizer, optim.LBFGS):
            optimizer.state.clear()
        for key, value in optimizer.state[model.w].items():
            rule = rule_for(key, value, model.w)
            if rule is not None and rule.fill is not None:
                value[ASLEEP | FROZEN] = rule.fill

    @torch.no_grad()
    def after(model: Toy, optimizer: Optimizer) -> None:
        model.w.copy_(torch.where(ASLEEP | FROZEN, kept[0], model.w))

    return run(case, options, begin, ASLEEP | FROZEN, after)


def verify(case: Case) -> None:
    """Run one row, with every set of options; raises RuntimeError where the page would be wrong."""
    for options in (case.shown, *({**case.shown, **more} for more in case.more)):
        ours, oracle = in_engine(case, options), by_hand(case, options)
        if not (ours.asleep and ours.frozen and torch.equal(ours.weights, oracle.weights)):
            raise RuntimeError(f"{case.kind.__name__}({options}) does not do what the page says")


def states(case: Case) -> list[str]:
    """Names of the state that these options create."""
    found: dict[str, None] = {}
    for options in (case.shown, *({**case.shown, **more} for more in case.more)):
        model = Toy()
        params = [model.w] if case.kind in (optim.Muon, optim.SparseAdam) else [model.w, model.b]
        optimizer = case.kind(params, **options)
        for seed in range(2):
            model.step(optimizer, seed)
        for param in params:
            found |= dict.fromkeys(k for k in optimizer.state[param] if k in TABLE)
    return list(found)


def row(case: Case) -> str:
    """One line of the first table; the bare loop zeroes weights once and gradients always."""
    naive = run(case, case.shown, zero, ASLEEP | FROZEN, nothing)
    optimizer = case.kind([Toy().w], **case.shown)
    group = optimizer.param_groups[0]
    how = ["repaired" if needs_repair(optimizer, group, f) else "left alone" for f in (False, True)]
    cells = [
        f"`{case.kind.__name__}`",
        case.options,
        "stay" if naive.asleep else "**revived**",
        "stay" if naive.frozen else "**moved**",
        f"exact, {how[0]}",
        f"exact, {how[1]}",
    ]
    return f"| {' | '.join(cells)} |"


def remarks(case: Case) -> list[str]:
    """What the engine warns of."""
    model = Toy()
    roster = Roster({"w": model.w}, [case.kind([model.w], **case.shown)])
    return [found.message for found in problems(roster)]


def state_row(name: str, rule: StateRule, users: dict[str, list[str]]) -> str:
    """One line of the second table."""
    inactive = "as it is" if rule.fill is None else f"{rule.fill:g}"
    fresh = rule.fresh.value if rule.per_entry else "-"
    cells = [
        f"`{name}`",
        ", ".join(users.get(name, [])),
        rule.kind.value,
        inactive if rule.per_entry else "shared, left alone",
        "the lr" if rule.fresh is Fresh.LR else fresh,
    ]
    return f"| {' | '.join(cells)} |"


def render() -> str:
    """The page, from the verdicts, the table of states and a bare run of every row."""
    users: dict[str, list[str]] = {}
    for case in CASES:
        for name in states(case):
            users.setdefault(name, []).append(case.kind.__name__)
    told = [f"- {message}." for case in CASES for message in remarks(case)]
    text = TEXT.read_text(encoding="utf-8")
    parts = {
        "behaviour": "\n".join(row(case) for case in CASES),
        "states": "\n".join(state_row(name, rule, users) for name, rule in TABLE.items()),
        "remarks": "\n".join(told),
        "count": str(len(VERDICTS)),
    }
    for name, part in parts.items():
        text = text.replace(f"{{{{{name}}}}}", part)
    return text


def main() -> None:
    """Verify every row, then write the page."""
    for case in CASES:
        verify(case)
    PAGE.write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main()
