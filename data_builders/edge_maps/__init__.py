"""Edge maps of the photos of another data set: see README.md next to this file."""
