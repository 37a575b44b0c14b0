"""What an hour of a machine costs, as typed on the command line."""

import math
from collections.abc import Iterable, Sequence

from lrbench.config.faults import BadInput


def parse_prices(given: Sequence[str], machines: Iterable[str]) -> dict[str, float]:
    """Prices by machine, in any currency, per hour of the whole machine.

    Args: given: ``NAME=PRICE`` each; a name is a machine's, or a beginning, or else a part, that only one machine has.

    Raises: BadInput for a name that is no machine's or several machines', a price that is no number from 0 up, and a
    second price.
    """
    found: dict[str, float] = {}
    known = sorted(set(machines))
    for word in given:
        name, _, number = word.rpartition("=")
        if not name:
            raise BadInput(
                f"--price {word}: must be NAME=PRICE, such as --price h100=2.50, with the price of an hour of the "
                f"whole machine."
            )
        price, machine = _price(number, word), _named(name, word, known)
        if machine in found:
            raise BadInput(f"--price {word}: {machine} has a price already: give one for each machine.")
        found[machine] = price
    return found


def _named(name: str, word: str, known: Sequence[str]) -> str:
    if not known:
        raise BadInput(
            f"--price {word}: there are no two machines to compare. Give a folder with the studies of one matrix on "
            f"two or more."
        )
    exact, begin, part = (
        [k for k in known if test(k)] for test in (name.__eq__, lambda k: k.startswith(name), lambda k: name in k)
    )
    fits = exact or begin or part
    if len(fits) == 1:
        return fits[0]
    if fits:
        raise BadInput(f"--price {word}: {name!r} may be {' or '.join(fits)}. Give more of the name.")
    raise BadInput(f"--price {word}: no machine here is called {name!r}. Known: {', '.join(known)}.")


def _price(number: str, word: str) -> float:
    try:
        price = float(number)
    except ValueError:
        price = math.nan
    if not 0.0 <= price < math.inf:
        raise BadInput(f"--price {word}: must be a price per hour, a number from 0 up, got {number!r}.")
    return price
