"""Does a network that adds and multiplies modulo 100 share weights? (Csordas et al. 2021)"""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

import sleepengine as se
from sleepengine.pipeline import mlp

OPERATIONS = ("add", "multiply")
ALPHA, LR = 1e-3, 1e-2  # published: alpha 1e-4, for 20,000 steps


def tasks(count: int, seed: int, only: str | None = None) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    a, b = torch.randint(100, (2, count), generator=random)
    which = torch.randint(2, (count,), generator=random)
    which = which if only is None else torch.full_like(which, OPERATIONS.index(only))
    result = torch.where(which == 0, a + b, a * b) % 100
    digits = [one_hot(part, 10) for number in (a, b) for part in (number % 10, number // 10)]
    x = torch.cat([*digits, one_hot(which, 2)], 1).float()
    return x, torch.stack([result % 10, result // 10], 1)


def loss_fn(output: Tensor, y: Tensor) -> Tensor:
    return cross_entropy(output.unflatten(1, (2, 10)).transpose(1, 2), y) * 2  # of both digits


def main(pretrain: int = 8000, steps: int = 2500, width: int = 400) -> dict[str, list[float]]:
    model = mlp((42,), 20, sizes=[width] * 3, seed=0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for step in range(pretrain):
        x, y = tasks(128, seed=step)
        optimizer.zero_grad()
        loss_fn(model(x), y).backward()
        optimizer.step()
    model.requires_grad_(False).eval()
    masks, table = se.MaskSets(), {}
    for name, only in {"both": None, **{one: one for one in OPERATIONS}}.items():
        logits = se.MaskLogits(model, se.GumbelSigmoid(), seed=1)
        adam = torch.optim.Adam(logits.parameters(), lr=LR)
        trainer = se.create_mask_trainer(model, loss_fn, logits, adam, alpha=ALPHA)
        trainer.run([tasks(128, -1 - step, only) for step in range(steps)])
        masks[name] = logits.masks()
    inverted = {f"all but {name}": masks.complement(name) for name in OPERATIONS}
    for name, mask in {"no mask": {}, **masks, **inverted}.items():
        tests = [tasks(4000, 10**6, only) for only in OPERATIONS]
        found = [se.masked_call(model, mask, x).unflatten(1, (2, 10)).argmax(2) for x, _ in tests]
        right = [(one == y).all(1) for one, (_, y) in zip(found, tests, strict=True)]
        table[name] = [one.float().mean().item() for one in right]
        print(f"{name:17} add {table[name][0]:.3f}  multiply {table[name][1]:.3f}")
    print("awake", *(masks.awake_shares(name) for name in OPERATIONS))
    print("in both, of those in any:", masks.iou_by_parameter(*OPERATIONS))
    return table


if __name__ == "__main__":
    main()
