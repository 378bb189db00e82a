"""A network that is never trained: half of its first weights, well chosen, read digits.

Edge-popup learns one score per weight and keeps the top half of every layer. The control keeps
half at random. Not one weight changes.
"""

import torch
from ignite.engine import Events
from torch import nn

import sleepengine as se
from sleepengine.pipeline import digits, mlp


def main(epochs: int = 40, width: int = 200) -> dict[str, float]:
    data = digits()
    model = mlp(data.input_shape, data.classes, sizes=[width, width], seed=0)
    model.requires_grad_(False).eval()
    first = [p.clone() for p in model.parameters()]

    logits = se.MaskLogits(model, se.TopK(asleep=0.5), seed=0)
    chance = logits.masks()  # scores start at random
    optimizer = torch.optim.SGD(logits.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    trainer = se.create_mask_trainer(
        model, nn.functional.cross_entropy, logits, optimizer, clip=None
    )
    loader = data.loader("train", batch_size=64)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(loader))
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda _: slower.step())
    trainer.run(loader, max_epochs=epochs)

    results = {}
    for name, masks in {"no mask": {}, "random": chance, "learned": logits.masks()}.items():
        with se.masked(model, masks):
            right = model(data.test.x).argmax(1) == data.test.y
        results[name] = right.float().mean().item()
        print(f"{name:8} test accuracy {results[name]:.3f}")
    results["asleep"] = logits.fraction()
    results["changed"] = sum(
        not torch.equal(a, b) for a, b in zip(first, model.parameters(), strict=True)
    )
    print(f"{results['asleep']:.1%} asleep, {results['changed']} tensors changed")
    return results


if __name__ == "__main__":
    torch.set_num_threads(1)  # layers this small only lose by more
    main()
