"""The OpenMoji data set: see README.md next to this file."""
