"""The HUST SI photos: see README.md next to this file."""
