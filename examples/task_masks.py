"""One network learns five tasks in turn and forgets none of them, to the bit (PackNet).

After each task half of its weights sleep, the rest freeze, and the sleepers wake for the next one.
"""

import torch

import sleepengine as se
from sleepengine.pipeline import Split, digits, mlp

TASKS = [slice(first, first + 2) for first in range(0, 10, 2)]  # two classes each
HIDDEN = ("fc1", "fc2")


def only(split: Split, task: slice) -> tuple[torch.Tensor, torch.Tensor]:
    chosen = split.y // 2 == task.start // 2
    return split.x[chosen], split.y[chosen] - task.start


def main(steps: int = 60, width: int = 100) -> list[tuple[float, bool]]:
    data, loss_fn = digits(), torch.nn.functional.cross_entropy
    model = mlp(data.input_shape, data.classes, sizes=[width, width])
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    halve = se.Rule(se.once("0it"), se.Who(se.Magnitude(), amount=se.by(0.5)), se.Sleep())
    masks, answers, rows = se.MaskSets(), {}, []

    def train(task: slice) -> None:
        x, y = only(data.train, task)
        for _ in range(steps):
            optimizer.zero_grad()
            loss_fn(model(x)[:, task], y).backward()
            optimizer.step()

    with se.SleepEngine(model, optimizer, params=HIDDEN).attach() as engine:
        for task in TASKS:
            train(task)
            engine.fire(halve)  # half of what is neither asleep nor frozen yet
            train(task)
            masks[str(task)] = engine.store
            answers[str(task)] = model(only(data.test, task)[0])[:, task]
            for layer in HIDDEN:
                engine.freeze_weights(layer, ~engine.is_sleeping(layer))
                engine.freeze_weights(f"{layer}.bias")
                engine.wake_weights(layer, value="zero")  # for the next task
            for head in ("fc3", "fc3.bias"):
                engine.freeze_weights(head, task)  # the rows of its two classes
        for task, (name, mask) in zip(TASKS, masks.items(), strict=True):
            engine.set_masks(mask)  # the whole model, in one call
            x, y = only(data.test, task)
            now = model(x)[:, task]
            rows.append(((now.argmax(1) == y).float().mean().item(), now.equal(answers[name])))
            print(f"{name}: {rows[-1][0]:.3f} right; the answers it gave then: {rows[-1][1]}")
    return rows


if __name__ == "__main__":
    torch.set_num_threads(1)  # layers this small only lose by more
    main()
