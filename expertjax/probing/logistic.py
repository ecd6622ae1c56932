"""Logistic regression with L2, many at a time."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from expertjax.models.forward import multiplying
from expertjax.probing.tasks import TRAIN, VALIDATION
from expertjax.typing import Array

_TOLERANCE = 2e-6  # of the largest entry of the gradient
_MAX_STEPS = 1000
_LEAST_STD = 1e-6  # of the largest value; less is rounding


class Probe(NamedTuple):
    """Fitted logistic regressions, on standardised features.

    Attributes:
      kernel: [..., D, O]; O is 1 where there are two classes, else their number K.
      bias: [..., O].
      loss: [...] the objective's value.
    """

    kernel: Array
    bias: Array
    loss: Array


class Outcome(NamedTuple):
    """What the best of some probes says.

    Attributes:
      chosen: [...] which strength of regularisation did best on validation.
      log_p: [..., n, K] log-probabilities of the classes, of every sentence.
    """

    chosen: Array
    log_p: Array


@functools.partial(jax.jit, static_argnames="num_classes")
def fit_tasks(
    x_CxnxD: Array, label_Cxn: Array, split_Cxn: Array, l2_R: Array, num_classes: int
) -> Outcome:
    """Fits a probe for each task and strength of regularisation, and takes the best.

    The best is the one of the least cross-entropy on the validation sentences. All
    C x R problems are solved side by side.

    Args:
      x_CxnxD: features of the tasks' sentences.
      label_Cxn: int, from 0 to K - 1.
      split_Cxn: int: TRAIN, VALIDATION, TEST, or another number for filler rows.
      l2_R: strengths; of equally good ones, the first is taken.
      num_classes: K.
    """

    def fit_task(x_nxD: Array, label_n: Array, split_n: Array) -> Outcome:
        is_train_n = (split_n == TRAIN).astype(x_nxD.dtype)
        x_nxD = standardise(x_nxD, is_train_n)
        fit = functools.partial(fit_probe, x_nxD, label_n, is_train_n, num_classes)
        probes = jax.vmap(fit)(l2_R)
        log_p_RxnxK = jax.vmap(functools.partial(log_probabilities, x_nxD))(
            probes.kernel, probes.bias
        )
        wanted_n = (split_n == VALIDATION).astype(x_nxD.dtype)
        surprise_R = jax.vmap(cross_entropy, (0, None, None))(
            log_p_RxnxK, label_n, wanted_n
        )
        chosen = jnp.argmin(surprise_R)
        return Outcome(chosen, log_p_RxnxK[chosen])

    # Accelerators would round the factors, and the line search would find no way down.
    with multiplying("float32"):
        return jax.vmap(fit_task)(x_CxnxD, label_Cxn, split_Cxn)


def fit_probe(
    x_nxD: Array, label_n: Array, weight_n: Array, num_classes: int, l2: Array
) -> Probe:
    """Minimises mean cross-entropy + l2 / 2 * |kernel|^2; the bias goes free.

    Scikit-learn's `C` is 1 / (l2 * n).

    Args:
      x_nxD: features.
      label_n: int, from 0 to K - 1.
      weight_n: of the sentences; 0 leaves one out.
      num_classes: K.
      l2: strength of regularisation.
    """
    outputs = 1 if num_classes == 2 else num_classes

    def objective(params: tuple[Array, Array]) -> Array:
        log_p_nxK = log_probabilities(x_nxD, *params)
        penalty = l2 / 2 * jnp.sum(params[0] ** 2)
        return cross_entropy(log_p_nxK, label_n, weight_n) + penalty

    kernel = jnp.zeros((x_nxD.shape[1], outputs), x_nxD.dtype)
    start = kernel, jnp.zeros(outputs, x_nxD.dtype)
    (kernel, bias), loss = _minimise(objective, start)
    return Probe(kernel, bias, loss)


def standardise(x_nxD: Array, weight_n: Array) -> Array:
    """Features of mean 0 and variance 1, weighted; constant ones become 0."""
    # Some models have features of 1e-33, whose squares would vanish.
    counted_nxD = jnp.where(weight_n[:, None] > 0, jnp.abs(x_nxD), 0)
    largest_D = jnp.max(counted_nxD, 0)
    x_nxD = x_nxD / jnp.where(largest_D > 0, largest_D, 1)
    share_nx1 = (weight_n / jnp.maximum(weight_n.sum(), 1))[:, None]
    x_nxD = x_nxD - jnp.sum(share_nx1 * x_nxD, 0)
    std_D = jnp.sqrt(jnp.sum(share_nx1 * x_nxD**2, 0))
    varies_D = std_D > _LEAST_STD
    return jnp.where(varies_D, x_nxD / jnp.where(varies_D, std_D, 1), 0)


def log_probabilities(x_nxD: Array, kernel_DxO: Array, bias_O: Array) -> Array:
    """[n, K] log-probabilities of the classes."""
    logits = x_nxD @ kernel_DxO + bias_O
    if logits.shape[-1] == 1:
        logits = jnp.concatenate([jnp.zeros_like(logits), logits], -1)
    return jax.nn.log_softmax(logits)


def cross_entropy(log_p_nxK: Array, label_n: Array, weight_n: Array) -> Array:
    """The weighted mean surprise at the labels."""
    log_p_n = jnp.take_along_axis(log_p_nxK, label_n[:, None], axis=-1)[:, 0]
    return -jnp.sum(weight_n * log_p_n) / jnp.maximum(weight_n.sum(), 1)


def _minimise(objective: Any, start: Any) -> tuple[Any, Array]:
    """L-BFGS (Liu and Nocedal 1989) until the gradient is flat or steps lead nowhere.

    Returns:
      parameters, and the objective there.
    """
    solver = optax.lbfgs()

    def goes_on(carry: Any) -> Array:
        *_, grad, step, moved = carry
        return (
            (optax.tree.norm(grad, ord=jnp.inf) > _TOLERANCE)
            & moved
            & (step < _MAX_STEPS)
        )

    def advance(carry: Any) -> Any:
        params, state, value, grad, step, _ = carry
        # Side by side with others, a finished problem is advanced too and its outcome
        # thrown away; without a slope its line search at least ends at once.
        is_done = ~goes_on(carry)
        slope = jax.tree.map(lambda g: jnp.where(is_done, 0, g), grad)
        updates, state = solver.update(
            slope, state, params, value=value, grad=slope, value_fn=objective
        )
        params = optax.apply_updates(params, updates)
        new_value = optax.tree.get(state, "value")
        grad = optax.tree.get(state, "grad")
        return params, state, new_value, grad, step + 1, new_value < value

    value, grad = jax.value_and_grad(objective)(start)
    carry = start, solver.init(start), value, grad, 0, jnp.array(True)
    params, _, value, *_ = jax.lax.while_loop(goes_on, advance, carry)
    return params, value
