"""Which weights does each task use? Masks learned on a frozen network that knows two tasks.

Two inputs ask which digit it is, or whether it is odd. Each task gets a mask, and both one.
"""

import torch
from torch import Tensor, nn

import sleepengine as se
from sleepengine.pipeline import Split, digits, mlp

ALPHA, LR = 1e-2, 3e-2  # larger than published, for far fewer steps


def ask(split: Split, odd: bool) -> tuple[Tensor, Tensor]:
    question = torch.tensor([[1.0 - odd, 0.0 + odd]]).expand(len(split), 2)
    return torch.cat([split.x.flatten(1), question], 1), split.y % 2 if odd else split.y


def batches(x: Tensor, y: Tensor, steps: int) -> list[tuple[Tensor, Tensor]]:
    picks = torch.randint(len(y), (steps, 128), generator=torch.Generator().manual_seed(0))
    return [(x[i], y[i]) for i in picks]


def main(steps: int = 1000, pretrain: int = 600, width: int = 100) -> dict[str, list[float]]:
    data, loss_fn = digits(), nn.functional.cross_entropy
    tasks = {"digit": ask(data.train, False), "odd": ask(data.train, True)}
    tests = [ask(data.test, odd) for odd in (False, True)]
    both = torch.cat([x for x, _ in tasks.values()]), torch.cat([y for _, y in tasks.values()])
    model = mlp((66,), 10, sizes=[width, width])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for x, y in batches(*both, pretrain):
        optimizer.zero_grad()
        loss_fn(model(x), y).backward()
        optimizer.step()
    model.requires_grad_(False).eval()
    masks = se.MaskSets()
    for name, task in {"both": both, **tasks}.items():
        logits = se.MaskLogits(model, se.GumbelSigmoid(), seed=1)
        adam = torch.optim.Adam(logits.parameters(), lr=LR)
        trainer = se.create_mask_trainer(model, loss_fn, logits, adam, alpha=ALPHA)
        trainer.run(batches(*task, steps))
        masks[name] = logits.masks()
    arms = {"no mask": {}, **masks, **{f"all but {n}": masks.complement(n) for n in tasks}}
    table = {}
    for name, mask in arms.items():
        right = [(se.masked_call(model, mask, x).argmax(1) == y).float() for x, y in tests]
        table[name] = [one.mean().item() for one in right]
        print(f"{name:14} digit {table[name][0]:.3f}  odd {table[name][1]:.3f}")
    common = sum(masks.intersection(*tasks).counts().values())
    for name in tasks:
        print(f"{name}: {sum(masks[name].counts().values())} weights awake, {common} in both tasks")
    return table


if __name__ == "__main__":
    torch.set_num_threads(1)  # layers this small only lose by more
    main()
