"""A strict test bed: eight virtual devices, rank promotion raises, warnings are errors
(pyproject.toml)."""

import jax

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
