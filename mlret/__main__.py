"""``python -m mlret`` runs ``mlret``, for launchers such as torchrun."""

from mlret.cli.main import main

main()
