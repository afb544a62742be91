"""The Sketchy database: see README.md beside this file."""
