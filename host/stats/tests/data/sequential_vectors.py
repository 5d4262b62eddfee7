"""Numbers that `sequential` is checked against: the same bets, written anew.

`python sequential_vectors.py > sequential_vectors.json`. Needs nothing but Python.
"""

import json
import math
import random

STAKES = (0.5, 1.0, 2.0, 4.0)


def wealths(differences: list[float], centre: float, sign: int) -> list[float]:
    """The wealth after each difference, of bets that it is above (sign 1) or below (-1) the centre."""
    found = []
    for count in range(1, len(differences) + 1):
        products = []
        for stake in STAKES:
            product = 1.0
            for index in range(count):
                off = [sign * (value - centre) for value in differences[: index + 1]]
                size = math.sqrt(math.fsum(value * value for value in off) / (index + 1))
                bet = math.tanh(stake * off[-1] / size) if size > 0 else 0.0
                product *= 1 + max(-1 + 1e-9, min(1 - 1e-9, bet))
            products.append(product)
        found.append(math.fsum(products) / len(STAKES))
    return found


def end(differences: list[float], tail: float, sign: int) -> float:
    """The nearest refuted centre: below the mean for sign 1, above it for -1, by bisection from a mean not refuted."""
    near = math.fsum(differences) / len(differences)
    far = near - sign * 10.0
    for _ in range(200):
        half = (near + far) / 2
        if max(wealths(differences, half, sign)) >= 1 / tail:
            far = half
        else:
            near = half
    return far


def case(differences: list[float]) -> dict[str, object]:
    """All figures of one campaign."""
    both = zip(wealths(differences, 0.0, 1), wealths(differences, 0.0, -1), strict=True)
    most = max([1.0, *((above + below) / 2 for above, below in both)])
    return {
        "differences": differences,
        "p": 1 / most,
        "low": end(differences, 0.025, 1),
        "high": end(differences, 0.025, -1),
    }


def main() -> None:
    """Prints them."""
    numbers = random.Random(11)
    shapes = [(8, 0.10, 0.02), (12, 0.0, 0.05), (20, -0.03, 0.04), (30, 0.01, 0.01)]
    cases = [case([numbers.gauss(shift, spread) for _ in range(count)]) for count, shift, spread in shapes]
    print(json.dumps(cases, indent=1))


if __name__ == "__main__":
    main()
