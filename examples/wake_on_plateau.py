"""Capacity on demand: a network starts at one twentieth, and more wakes whenever learning stalls.

The validation loss is told with `engine.metric`; `plateau` notices when it stops falling. New
weights wake where the gradient is largest, with the values that they had when they fell asleep.
"""

import torch
from torch import nn

import sleepengine as se
from sleepengine.pipeline import digits, mlp


def main(epochs: int = 30) -> list[float]:
    data = digits()
    model = mlp(data.input_shape, data.classes, sizes=[40], seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    loader = data.loader("train", batch_size=64)

    rules = [
        se.Rule(se.once("0it"), se.Who(se.Magnitude(), amount=se.to(0.95)), se.Sleep()),
        se.Rule(
            se.plateau("valid_loss", patience=2),
            se.Who(se.Gradient(), amount=se.by(0.25)),  # a quarter of those that sleep
            se.Wake(value="parked"),
            name="wake",
        ),
    ]
    engine = se.SleepEngine(model, optimizer, rules)
    engine.on("WOKE", lambda news: print(f"step {news.step}: {news.changes.woke.count()} woke"))
    shares = []
    with engine.attach(steps_per_epoch=len(loader)):
        for _ in range(epochs):
            for x, y in loader:
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x), y).backward()
                optimizer.step()
            with torch.no_grad():
                loss = nn.functional.cross_entropy(model(data.valid.x), data.valid.y)
            engine.metric("valid_loss", loss.item())
            shares.append(engine.fraction())
    correct = (model(data.test.x).argmax(1) == data.test.y).float().mean().item()
    print(f"{shares[0]:.1%} asleep at first, {shares[-1]:.1%} at last; accuracy {correct:.3f}")
    return shares


if __name__ == "__main__":
    main()
