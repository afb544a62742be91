"""The Sketchy database: see README.md next to this file."""
