"""Fine-tune a checkpoint that is sparse already, and keep its zeros zero.

Momentum and weight decay revive zeros in a plain fine-tuning; `adopt_zeros()` is the one new line.
"""

import copy

import torch
from torch import nn

import sleepengine as se
from sleepengine.pipeline import Data, digits, mlp


def train(model: nn.Module, optimizer: torch.optim.Optimizer, data: Data, epochs: int) -> None:
    for _ in range(epochs):
        for x, y in data.loader("train", batch_size=64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()


def sparse_checkpoint(data: Data, epochs: int) -> dict[str, torch.Tensor]:
    """A file as one gets it from elsewhere: plain weights, 80 % of them zero, no masks."""
    model = mlp(data.input_shape, data.classes, sizes=[100], seed=0)
    train(model, torch.optim.Adam(model.parameters()), data, epochs)
    with torch.no_grad():
        for weight in (model.fc1.weight, model.fc2.weight):
            weight[weight.abs() < weight.abs().quantile(0.8)] = 0
    return copy.deepcopy(model.state_dict())


def main(epochs: int = 5) -> dict[str, int]:
    data = digits()
    checkpoint = sparse_checkpoint(data, epochs)
    zeros = {}
    for adopt in (False, True):
        model = mlp(data.input_shape, data.classes, sizes=[100])
        model.load_state_dict(checkpoint)
        optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.1)
        with se.SleepEngine(model, optimizer).attach() as engine:
            if adopt:
                print(f"{engine.adopt_zeros()} zeros adopted")
            train(model, optimizer, data, epochs)
        zeros["adopted" if adopt else "plain"] = int((model.fc1.weight == 0).sum())
    print(f"zeros in fc1 before {int((checkpoint['fc1.weight'] == 0).sum())}, after: {zeros}")
    return {"before": int((checkpoint["fc1.weight"] == 0).sum()), **zeros}


if __name__ == "__main__":
    main()
