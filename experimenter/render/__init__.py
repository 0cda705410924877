"""Experiments as text: nothing that a record holds reaches the terminal as a command."""
