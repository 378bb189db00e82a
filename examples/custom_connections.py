"""Custom sparse connections between two layers, given as the adjacency matrix of a graph.

`nn.Linear` stays `nn.Linear`: no masked layer, no hook in the forward pass, no further key in the
`state_dict`. What has no edge is +0.0 after every step, whatever the optimizer does.
"""

import torch
from torch import nn

import sleepengine as se
from sleepengine.pipeline import digits


def neighbours(side: int) -> torch.Tensor:
    """A graph from pixels to hidden nodes: node (r, c) sees the 3 x 3 pixels around (r, c)."""
    row, column = torch.arange(side * side) // side, torch.arange(side * side) % side
    near_row = (row[:, None] - row[None, :]).abs() <= 1
    near_column = (column[:, None] - column[None, :]).abs() <= 1
    return (near_row & near_column).int()  # [input, node]


def main(epochs: int = 8) -> dict[str, float]:
    data = digits()
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    keys = list(model.state_dict())

    # Square matrices can be read either way, so the layout is always said.
    edges = se.mask_from_adjacency(neighbours(8), layout="in_out")
    engine = se.SleepEngine(model, optimizer)
    engine.set_masks({"1.weight": edges})
    with engine.attach():
        for _ in range(epochs):
            for x, y in data.loader("train", batch_size=64):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x), y).backward()
                optimizer.step()

    weight = model[1].weight.detach()
    off_graph = weight[~edges].abs().max().item()
    correct = (model(data.test.x).argmax(1) == data.test.y).float().mean().item()
    same = keys == list(model.state_dict())
    print(f"{int(edges.sum())} of {edges.numel()} connections; test accuracy {correct:.3f}")
    print(f"largest weight without an edge: {off_graph}; keys of the state_dict as before: {same}")
    return {"off_graph": off_graph, "edges": float((weight != 0).sum()), "accuracy": correct}


if __name__ == "__main__":
    main()
