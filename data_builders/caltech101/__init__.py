"""Caltech-101: see README.md next to this file."""
