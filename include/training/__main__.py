"""``python -m include.training <step>… --name=value…``: runs steps one after the other in one session."""

from __future__ import annotations

import sys

from include.training.steps import run
from include.training.wheel import STEPS

REFUSED = 3
"""The exit status where the data cannot teach a model."""


def main(arguments: list[str]) -> int:
    """Runs the named steps; 3 where training was refused, 2 where the command line is wrong."""
    steps = [argument for argument in arguments if not argument.startswith("-")]
    if not steps or not set(steps) <= set(STEPS):
        print(
            f"usage: python -m include.training {{{','.join(STEPS)}}}… --bucket=… [--name=value…]",
            file=sys.stderr,
        )
        return 2
    parameters = [argument for argument in arguments if argument.startswith("-")]
    refusals = [run(step, parameters).get("refused") for step in steps]
    for refusal in filter(None, refusals):
        print(f"refused: {refusal}", file=sys.stderr)
    return REFUSED if any(refusals) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
