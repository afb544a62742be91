"""The SBIR benchmark of Eitz et al.: see README.md beside this file."""
