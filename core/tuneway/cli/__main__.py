"""`python -m tuneway.cli`, where the console script isn't on the path."""

from tuneway.cli import main

main()
