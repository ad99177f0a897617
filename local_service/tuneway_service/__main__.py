"""`python -m tuneway_service`: start the service without the command line tool."""

from tuneway_service.commands.serve import main

main()
