"""`python -m mousai` is the command line; `accelerate launch -m mousai …` starts it here."""

import sys


def run() -> None:
    """The entry point of `mousai`: an interruption before anything has begun is one like any other."""
    try:
        from mousai.cli.main import main
    except KeyboardInterrupt:
        print("mousai: interrupted", file=sys.stderr)
        sys.exit(130)
    main()


if __name__ == "__main__":
    run()
