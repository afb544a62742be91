"""The SBIR benchmark of Eitz et al.: see README.md next to this file."""
