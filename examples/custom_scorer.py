"""A scorer of your own: a few lines, checked against the contract, used in a rule.

The score here is |w| (1 + |g| / mean |g|): a small weight that is being pushed hard stays awake.
"""

import torch
from torch import Tensor, nn

import sleepengine as se
from sleepengine.pipeline import digits, mlp


class PushedMagnitude(se.Scorer):
    """s = |w| (1 + |g| / mean |g|), with the mean over the tensor."""

    needs = frozenset({"grads"})  # the engine gathers them on the steps that use them, no others
    equivariant = True

    def score(self, signals: se.Signals) -> dict[str, Tensor]:
        scores = {}
        for name, weight in signals.weights.items():
            push = signals.grads[name].abs()
            mean = push.mean(dtype=torch.float64).clamp(min=1e-12)
            scores[name] = weight.abs() * (1 + push / mean)
        return scores


def train(scorer: se.Scorer, epochs: int) -> float:
    data = digits()
    model = mlp(data.input_shape, data.classes, sizes=[50], seed=0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    loader = data.loader("train", batch_size=64)
    rule = se.Rule(se.at("30%", "60%"), se.Who(scorer, amount=se.by(0.75)), se.Sleep())
    engine = se.SleepEngine(model, optimizer, [rule])
    with engine.attach(total_steps=epochs * len(loader)):
        for _ in range(epochs):
            for x, y in loader:
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x), y).backward()
                optimizer.step()
    return (model(data.test.x).argmax(1) == data.test.y).float().mean().item()


def main(epochs: int = 10) -> dict[str, float]:
    se.check_scorer(PushedMagnitude())  # keys, shapes, purity, ...: raises BrokenContract
    results = {
        "magnitude": train(se.Magnitude(), epochs),
        "pushed": train(PushedMagnitude(), epochs),
        "pushed, smoothed": train(se.Smoothed(PushedMagnitude(), decay=0.9), epochs),
    }
    for name, correct in results.items():
        print(f"{name:17} test accuracy {correct:.3f} with 94 % asleep")
    return results


if __name__ == "__main__":
    main()
