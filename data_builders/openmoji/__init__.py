"""The OpenMoji data set: see README.md beside this file."""
