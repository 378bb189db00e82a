"""Gradual magnitude pruning around an Ignite trainer: 90 % of the weights fall asleep.

The model, the trainer and the optimizer are what they were; one rule and one `attach` are new.
"""

import torch
from ignite.engine import create_supervised_evaluator, create_supervised_trainer
from ignite.metrics import Accuracy
from torch import nn

import sleepengine as se
from sleepengine.pipeline import digits, mlp


def main(epochs: int = 12) -> dict[str, float]:
    data = digits()
    model = mlp(data.input_shape, data.classes, sizes=[100], seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    trainer = create_supervised_trainer(model, optimizer, nn.functional.cross_entropy)
    evaluator = create_supervised_evaluator(model, {"accuracy": Accuracy()})

    # From 10 % to 70 % of the run, every 10 iterations, along a cubic curve to 90 % asleep.
    rule = se.Rule(
        when=se.every("10it", after="10%", before="70%"),
        who=se.Who(se.Magnitude(), amount=se.to(se.cubic(0.0, 0.9))),
        what=se.Sleep(),
        over=("10%", "60%"),
        name="gradual",
    )
    engine = se.SleepEngine(model, optimizer, [rule])
    with engine.attach(trainer):
        trainer.run(data.loader("train", batch_size=32), max_epochs=epochs)
        accuracy = evaluator.run(data.loader("test", batch_size=256)).metrics["accuracy"]

    for record in engine.journal[:3]:
        print(record)
    print(f"... {len(engine.journal)} records; {engine.fraction():.1%} asleep")
    print(f"test accuracy {accuracy:.3f}")
    return {"asleep": engine.fraction(), "accuracy": accuracy}


if __name__ == "__main__":
    main()
