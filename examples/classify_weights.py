"""Classify handwritten digits by the weights of their networks, fitted to MNIST from a common initialisation.

    eoren fit-many train-images-idx3-ubyte.gz -o train --same-start
    eoren fit-many t10k-images-idx3-ubyte.gz -o test --same-start
    python examples/classify_weights.py train test

The input of the classifier is not an image but the output of :meth:`eoren.Collection.matrix`: for every digit, the
change of each weight from the common initialisation. A perceptron of two layers is enough, because the common
initialisation keeps corresponding units at the same index; without ``--same-start`` they would be permuted.
"""

import argparse

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import eoren


def load_weights(store: str) -> tuple[Tensor, Tensor]:
    """Load the weights and labels of a store."""
    data = eoren.Collection(store).dataset()
    assert data.labels is not None, "images without labels have no classes"
    return data.weights, data.labels


def train(weights: Tensor, labels: Tensor, *, epochs: int, seed: int) -> nn.Module:
    """Train a perceptron for a number of epochs."""
    torch.manual_seed(seed)
    hidden = 256
    model = nn.Sequential(
        nn.Linear(weights.shape[1], hidden), nn.ReLU(), nn.Dropout(0.3), nn.Linear(hidden, int(labels.max()) + 1)
    )
    loader = DataLoader(TensorDataset(weights, labels), batch_size=256, shuffle=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=epochs * len(loader))
    for _ in range(epochs):
        for inputs, targets in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), targets).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def main() -> None:
    """Train on one store and test on another one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    (weights, labels), (test_weights, targets) = load_weights(args.train), load_weights(args.test)
    mean, deviation = weights.mean(0), weights.std(0).clamp(min=1e-6)
    model = train((weights - mean) / deviation, labels, epochs=args.epochs, seed=args.seed)
    with torch.no_grad():
        predictions = model((test_weights - mean) / deviation).argmax(1)
    accuracy = (predictions == targets).float().mean().item()
    print(f"{accuracy:.2%} of {len(targets):,} digits, from the weights of {len(labels):,}")


if __name__ == "__main__":
    main()
