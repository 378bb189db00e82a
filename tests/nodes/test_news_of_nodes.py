"""Handlers are told which nodes something happened to."""

import torch
from torch import nn

from sleepengine import Happening, SleepEngine


def test_nodes_in_the_news():
    net = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 1))
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    engine = SleepEngine(net, optimizer, example_inputs=torch.zeros(1, 2))
    heard = []

    def hear(news):
        nodes = {name: news.nodes[name].nonzero().flatten().tolist() for name in news.nodes}
        heard.append((news.happening.name, nodes))

    for kind in Happening:
        engine.on(kind, hear)
    with engine.attach():
        engine.sleep_nodes("0", [1, 2])
        engine.sleep_nodes("0", [2, 3])  # 2 sleeps already
        engine.wake_nodes("0", 1)
        engine.freeze_nodes("2", 0)
        engine.thaw_nodes("2", 0)
        engine.reset_nodes("2", [2])
        engine.sleep_weights("2", (0, 0))
    assert heard == [
        ("SLEPT", {"0": [1, 2]}),
        ("SLEPT", {"0": [3]}),
        ("WOKE", {"0": [1]}),
        ("FROZE", {"2": [0]}),
        ("THAWED", {"2": [0]}),
        ("RESET", {"2": [2]}),
        ("SLEPT", {}),
    ]
