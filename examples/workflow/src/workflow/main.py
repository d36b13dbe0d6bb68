"""Simulate a year of daily temperatures and plot them with their running mean.

Usage:
  workflow [--seed=N] [--window=DAYS] [--output=FILE]

Options:
  --seed=N       Seed of the noise [default: 2026].
  --window=DAYS  Days that the running mean covers [default: 30].
  --output=FILE  The picture to write [default: plot.png].
"""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from docopt import docopt

mpl.use("Agg")  # there may be no display

from matplotlib import pyplot as plt


def simulate(seed: int) -> pd.Series:
    days = pd.date_range("2026-01-01", periods=365, name="day")
    season = 10 - 9 * np.cos(2 * np.pi * (days.dayofyear.to_numpy() - 20) / 365)
    noise = np.random.default_rng(seed).normal(scale=2.5, size=len(days))
    return pd.Series(season + noise, index=days, name="temperature")


def plot(temperatures: pd.Series, window: int, output: str) -> None:
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    axes.plot(temperatures.index, temperatures, ".", color="0.6", label="daily")
    mean = temperatures.rolling(window, center=True).mean()
    axes.plot(mean.index, mean, color="tab:red", linewidth=2, label=f"mean of {window} days")
    axes.set(title="Simulated temperatures", ylabel="°C")
    axes.legend()
    figure.savefig(output, dpi=120)


def main() -> None:
    arguments = docopt(__doc__)
    temperatures = simulate(int(arguments["--seed"]))
    plot(temperatures, int(arguments["--window"]), arguments["--output"])
    print(f"{len(temperatures)} days, {temperatures.mean():.1f} °C on average")
