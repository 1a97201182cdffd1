"""Which digit is it? Asked of the weights alone: the networks of MNIST, fitted from one start.

    eoren fit-many train-images-idx3-ubyte.gz -o train --same-start
    eoren fit-many t10k-images-idx3-ubyte.gz -o test --same-start
    python examples/classify_weights.py train test

The classifier never sees a pixel. It sees what :meth:`eoren.Collection.matrix` gives: for every digit, how far each
weight went from where all began. A plain perceptron of two layers is enough, because one start keeps units in order;
without ``--same-start`` the same numbers mean different things in every network.
"""

import argparse

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import eoren


def rows(store: str) -> tuple[Tensor, Tensor]:
    """Weights and labels of a store."""
    data = eoren.Collection(store).dataset()
    return data.weights, data.labels


def train(weights: Tensor, labels: Tensor, *, epochs: int, seed: int) -> nn.Module:
    """A perceptron that has seen every network ``epochs`` times."""
    torch.manual_seed(seed)
    hidden = 256
    model = nn.Sequential(
        nn.Linear(weights.shape[1], hidden), nn.ReLU(), nn.Dropout(0.3), nn.Linear(hidden, int(labels.max()) + 1)
    )
    loader = DataLoader(TensorDataset(weights, labels), batch_size=256, shuffle=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=epochs * len(loader))
    for _ in range(epochs):
        for some, wanted in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(some), wanted).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def main() -> None:
    """Train on one store, test on the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    (weights, labels), (others, wanted) = rows(given.train), rows(given.test)
    mean, deviation = weights.mean(0), weights.std(0).clamp(min=1e-6)
    model = train((weights - mean) / deviation, labels, epochs=given.epochs, seed=given.seed)
    with torch.no_grad():
        said = model((others - mean) / deviation).argmax(1)
    accuracy = (said == wanted).float().mean().item()
    print(f"{accuracy:.2%} of {len(wanted):,} digits, from the weights of {len(labels):,}")


if __name__ == "__main__":
    main()
