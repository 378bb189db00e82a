"""Lottery tickets: train, put 20 % of the rest to sleep, rewind to the first weights, repeat.

The control has the same number of weights asleep in random places. `configs/` and the command line
run the same with several seeds, more controls and a report; this is the bare loop.
"""

import torch
from torch import nn

import sleepengine as se
from sleepengine.pipeline import digits, mlp


def run(scorer: se.Scorer, levels: int, epochs: int) -> list[tuple[float, float]]:
    data = digits()
    model = mlp(data.input_shape, data.classes, sizes=[100], seed=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    loader = data.loader("train", batch_size=64, seed=1)
    prune = se.Rule(se.once("0it"), se.Who(scorer, amount=se.by(0.2)), se.Sleep())
    rewind = se.Rule(se.once("0it"), None, se.Rewind(to="init"))

    engine = se.SleepEngine(model, optimizer, keep=["init"])
    rows = []
    with engine.attach():
        for level in range(levels + 1):
            if level > 0:
                engine.fire(prune, rewind)  # one transaction; the rewind is checked bit for bit
                engine.restart()  # every level has its own clock
            for _ in range(epochs):
                for x, y in loader:
                    optimizer.zero_grad()
                    nn.functional.cross_entropy(model(x), y).backward()
                    optimizer.step()
            correct = (model(data.test.x).argmax(1) == data.test.y).float().mean().item()
            rows.append((1 - engine.fraction(), correct))
    return rows


def main(levels: int = 12, epochs: int = 8) -> list[tuple[float, float, float]]:
    tickets = run(se.Magnitude(), levels, epochs)
    controls = run(se.Random(), levels, epochs)
    print("awake   ticket  random mask")
    table = []
    for (awake, ticket), (_, control) in zip(tickets, controls, strict=True):
        print(f"{awake:6.1%}  {ticket:.3f}   {control:.3f}")
        table.append((awake, ticket, control))
    return table


if __name__ == "__main__":
    main()
