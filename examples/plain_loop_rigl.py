"""RigL in a plain loop: always 80 % asleep, and every 20 steps the mask moves to better places.

The lowest weights fall asleep, those with the largest gradient wake at zero. The loop below knows
nothing of it: the engine listens to the optimizer's own steps.
"""

import torch
from torch import nn

import sleepengine as se
from sleepengine.pipeline import digits, mlp


def rigl(share: float) -> list[se.Rule]:
    erk, moves = se.PerTensor(se.ERK()), se.every("20it", before="75%")
    drop = se.Who(se.Magnitude(), pools=erk, amount=se.by(se.cosine(0.3, 0.0)))
    grow = se.Who(se.Gradient(), pools=erk, amount=se.to(share))
    return [
        se.Rule(se.once("0it"), se.Who(se.Random(), pools=erk, amount=se.to(share)), se.Sleep()),
        # Two rules that fire together are one transaction; the second sees what the first left.
        se.Rule(moves, drop, se.Sleep(), skip_step=True, name="drop"),
        se.Rule(moves, grow, se.Wake(value="zero"), skip_step=True, name="grow"),
    ]


def main(epochs: int = 10) -> dict[str, float]:
    data = digits()
    model = mlp(data.input_shape, data.classes, sizes=[100, 50], seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    loader = data.loader("train", batch_size=32)

    engine = se.SleepEngine(model, optimizer, rigl(0.8), seed=0)
    with engine.attach(steps_per_epoch=len(loader), total_steps=epochs * len(loader)):
        for _ in range(epochs):
            for x, y in loader:
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x), y).backward()
                optimizer.step()

    moved = sum(record.changed for record in engine.journal.for_rule("grow"))
    correct = (model(data.test.x).argmax(1) == data.test.y).float().mean().item()
    for state in engine.get_sleep_configuration().values():
        print(state)
    print(f"{engine.fraction():.1%} asleep, {moved} weights woken, test accuracy {correct:.3f}")
    return {"asleep": engine.fraction(), "accuracy": correct, "moved": float(moved)}


if __name__ == "__main__":
    main()
