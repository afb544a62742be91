"""The Quick, Draw! data set: see README.md next to this file."""
