"""Products of vectors and matrices whose gradients copy nothing on CPUs."""

import jax
import jax.numpy as jnp


@jax.custom_vjp
def product(x: jax.Array, matrix: jax.Array) -> jax.Array:
    """Multiplies vectors by a matrix, with the matrix's gradient as one product over all of them: the one
    that JAX derives is of transposed maps, which XLA copies first on CPUs.

    Args:
      x: [..., i].
      matrix: [i, o].

    Returns:
      [..., o].
    """
    return jnp.matmul(x, matrix)


def _product_forward(
    x: jax.Array, matrix: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return jnp.matmul(x, matrix), (x, matrix)


def _product_backward(
    kept: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, matrix = kept
    return jnp.matmul(gradient, matrix.T), transposed_times(x, gradient)


product.defvjp(_product_forward, _product_backward)


def transposed_times(x: jax.Array, gradient: jax.Array) -> jax.Array:
    """Multiplies the transpose of vectors by others, as one product over all of them.

    Args:
      x: [..., i].
      gradient: [..., o].

    Returns:
      [i, o].
    """
    rows, gradients = (a.reshape(-1, a.shape[-1]) for a in (x, gradient))
    return jax.lax.dot_general(rows, gradients, (((0,), (0,)), ((), ())))
