"""Edge maps of the photos of another data set: see README.md beside this file."""
