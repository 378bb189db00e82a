"""Write docs/optimizers.md: what sleep and freeze do under every optimizer of torch.optim.

Every row is what runs found: of the options that the row shows, and of every configuration in which
torch itself tests the optimizer. Text around the tables is the template's.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import optim

from sleepengine.enforcement.roster import Roster
from sleepengine.enforcement.state_table import TABLE, Fresh, StateRule
from sleepengine.enforcement.verdicts import needs_repair, problems

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from optimizer_runs import (  # noqa: E402 - found once the folder is known
    ASLEEP,
    CATALOGUE,
    FROZEN,
    Case,
    Toy,
    nothing,
    run,
    sweep,
    zero,
)

PAGE, TEXT = HERE / "optimizers.md", HERE / "optimizers.template.md"
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


def verify(case: Case) -> None:
    """Run one row in every configuration; raises RuntimeError where the page would be wrong."""
    _, wrong = sweep(case)
    if wrong:
        raise RuntimeError("; ".join(wrong))


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
    naive = run(case, case.shown, zero, ASLEEP | FROZEN, nothing, spoiled=False)
    optimizer = case.kind([Toy().w], **case.shown)
    group = optimizer.param_groups[0]
    how = ["repaired" if needs_repair(optimizer, group, f) else "left alone" for f in (False, True)]
    found, wrong = sweep(case)
    moves = [f"{n} of {found.tried}" if n else "none" for n in (found.asleep, found.frozen)]
    exact = f"{found.tried - len(wrong)} of {found.tried}"
    cells = [
        f"`{case.kind.__name__}`",
        case.options,
        "stay" if naive.asleep else "**revived**",
        "stay" if naive.frozen else "**moved**",
        *moves,
        f"exact, {how[0]}",
        f"exact, {how[1]}",
        exact,
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
        "count": str(sum(sweep(case)[0].tried for case in CASES)),
        "left_out": "\n".join(f"- `{k}=True`: {why}." for k, why in CATALOGUE.LEFT_OUT.items()),
        "torch": ".".join(torch.__version__.split(".")[:2]),
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
