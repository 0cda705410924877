"""Runs the command line: `python -m experimenter`."""

from experimenter.cli import main

if __name__ == "__main__":
    main()
