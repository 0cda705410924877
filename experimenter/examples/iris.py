"""Trains a small neural network on Fisher's irises; run as `experimenter run -- python -m experimenter.examples.iris`.

The measurements in iris.csv are those of R. A. Fisher, "The use of multiple measurements in taxonomic problems",
Annals of Eugenics 7 (1936). Nothing but Python is needed, so that this file can be copied as a start for your own.
"""

import csv
import json
import math
import os
import random
from pathlib import Path

Sample = tuple[list[float], int]
SPECIES = ("setosa", "versicolor", "virginica")
DEFAULTS = {"lr": 0.05, "hidden": 8, "epochs": 40, "seed": 0}


def parameters() -> dict[str, float]:
    """Return the defaults, with those over them that the run was given."""
    given = json.loads(os.environ.get("EXPERIMENTER_PARAMS", "{}"))
    if unknown := given.keys() - DEFAULTS.keys():
        raise SystemExit(f"unknown parameters: {', '.join(sorted(unknown))}")
    chosen: dict[str, float] = DEFAULTS | given
    if chosen["lr"] <= 0:
        raise SystemExit(f"lr must be above 0, not {chosen['lr']}")
    return chosen


def load() -> list[Sample]:
    """Return 150 flowers: four lengths, each scaled to mean 0 and deviation 1, and the number of the species."""
    with Path(__file__).with_name("iris.csv").open() as file:
        rows = [(list(map(float, row[:4])), SPECIES.index(row[4])) for row in list(csv.reader(file))[1:]]
    columns = list(zip(*(lengths for lengths, _ in rows), strict=True))
    means = [sum(column) / len(column) for column in columns]
    spreads = [math.dist(column, [mean] * len(column)) for column, mean in zip(columns, means, strict=True)]
    scale = math.sqrt(len(rows))
    return [
        ([(x - mean) / spread * scale for x, mean, spread in zip(lengths, means, spreads, strict=True)], species)
        for lengths, species in rows
    ]


class Network:
    """One hidden layer of tanh units, and a softmax over the species."""

    def __init__(self, hidden: int) -> None:
        self.inner = [[random.gauss(0, 0.5) for _ in range(5)] for _ in range(hidden)]
        self.outer = [[random.gauss(0, 0.5) for _ in range(hidden + 1)] for _ in SPECIES]

    def forward(self, lengths: list[float]) -> tuple[list[float], list[float]]:
        """Return the hidden layer, and the probability of each species; both layers end in a constant 1."""
        inputs = [*lengths, 1.0]
        hidden = [math.tanh(sum(map(float.__mul__, weights, inputs))) for weights in self.inner] + [1.0]
        scores = [math.exp(sum(map(float.__mul__, weights, hidden))) for weights in self.outer]
        return hidden, [score / sum(scores) for score in scores]

    def learn(self, lengths: list[float], species: int, lr: float) -> float:
        """Take one step down the gradient; return the loss before it, in nats."""
        hidden, chances = self.forward(lengths)
        errors = [chance - (place == species) for place, chance in enumerate(chances)]
        for unit, weights in enumerate(self.inner):
            slope = sum(error * row[unit] for error, row in zip(errors, self.outer, strict=True))
            step = lr * slope * (1 - hidden[unit] ** 2)
            self.inner[unit] = [weight - step * x for weight, x in zip(weights, [*lengths, 1.0], strict=True)]
        for place, error in enumerate(errors):
            row = zip(self.outer[place], hidden, strict=True)
            self.outer[place] = [weight - lr * error * x for weight, x in row]
        return -math.log(max(chances[species], 1e-12))

    def accuracy(self, samples: list[Sample]) -> float:
        """Return the share of samples whose species is the most probable one."""
        hits = 0
        for lengths, species in samples:
            chances = self.forward(lengths)[1]
            hits += chances.index(max(chances)) == species
        return hits / len(samples)


def main() -> None:
    """Train, report progress, and write the results."""
    chosen = parameters()
    random.seed(chosen["seed"])
    samples = load()
    random.shuffle(samples)
    train, test = samples[:105], samples[105:]
    network = Network(int(chosen["hidden"]))
    loss = math.inf
    for epoch in range(1, int(chosen["epochs"]) + 1):
        loss = sum(network.learn(*sample, chosen["lr"]) for sample in train) / len(train)
        if epoch % 10 == 0:
            print(f"epoch {epoch:3}  loss {loss:.4f}  accuracy {network.accuracy(test):.3f}", flush=True)
    results = {"loss": round(loss, 6), "accuracy": round(network.accuracy(test), 6)}
    if file := os.environ.get("EXPERIMENTER_RESULTS_FILE"):
        Path(file).write_text(json.dumps(results))


if __name__ == "__main__":
    main()
