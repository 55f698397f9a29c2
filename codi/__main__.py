"""`python -m codi` is the command `codi`."""

from codi.apps.cli import main

main()
