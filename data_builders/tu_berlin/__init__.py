"""The TU-Berlin sketches: see README.md next to this file."""
