"""The TU-Berlin sketches: see README.md beside this file."""
