"""The Quick, Draw! data set: see README.md beside this file."""
