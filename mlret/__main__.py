"""`python -m mlret` is `mlret`, for launchers such as torchrun."""

from mlret.cli.main import main

main()
