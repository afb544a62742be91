"""The HUST SI photos: see README.md beside this file."""
