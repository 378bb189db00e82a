"""Sleep, wake and freeze by hand: no rules, any positions, at any moment of the training."""

import torch
from torch import nn

import sleepengine as se


def main() -> dict[str, object]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    engine = se.SleepEngine(model, optimizer)
    x, y = torch.randn(32, 6), torch.randint(3, (32,))

    def train(steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()

    with engine.attach():
        before = model[0].weight.detach().clone()
        first = engine["0"]  # a layer by name; `engine.sleep_weights("0", ...)` is the same
        first.sleep_weights((0, 3))  # one weight: row 0, column 3
        first.sleep_weights([(1, 1), (2, 5)])  # a list of positions
        first.sleep_weights((7, slice(None)))  # all that feeds output 7
        first.freeze_weights(before > 0.3)  # a bool mask
        print(first.get_sleep_state(), "; is (0, 3) asleep?", bool(first.is_sleeping((0, 3))))

        train(20)
        asleep = first.is_sleeping()
        leak = model[0].weight[asleep].abs().max().item()
        frozen = first.get_sleep_state().frozen & ~asleep
        kept = torch.equal(model[0].weight[frozen], before[frozen])
        print(f"after 20 steps: largest sleeper {leak}, frozen weights as before: {kept}")

        first.wake_weights((7, slice(None)))  # back to the bit, as they fell asleep
        back = torch.equal(model[0].weight[7], before[7])
        print(f"row 7 woke as it fell asleep: {back}")

        engine.sleep_weights("2.bias", [0, 1])  # any parameter, by its full name
        exact = engine.undo()  # bit for bit, as no step was taken since
        print(f"undone bit for bit: {exact}; {engine.get_sleep_configuration()}")
        first.thaw_weights()
        first.wake_weights(value="fresh", state="zero")  # all of them, newly drawn
    return {"leak": leak, "kept": kept, "back": back, "exact": exact, "left": engine.fraction()}


if __name__ == "__main__":
    main()
