"""`python -m mousai` is the command line; `accelerate launch -m mousai …` starts it here."""

from mousai.cli.main import main

main()
