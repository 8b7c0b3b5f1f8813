"""Learn an orthogonal map between two languages' embeddings, without parallel text.

The embeddings of monolingual text in two languages, computed by one encoder, form two clusters of similar shape, which
differ mostly by a rotation. The rotation is learned from the clusters alone, as for word embeddings (MUSE: Conneau,
Lample, Ranzato, Denoyer and Jégou, "Word Translation Without Parallel Data", ICLR 2018, arXiv 1710.04087): rows that
are each other's nearest neighbour are taken to be translations, the orthogonal Procrustes problem is solved for them,
and this is repeated with the neighbours under the new map.

The map is ``x -> W x`` for one embedding, so ``rows @ W.T`` for embeddings in rows. Rows are compared by cosine.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from mlret.errors import InputError

Rows = NDArray[np.float32]
Kept = Literal["identity", "adversarial", "self-learning"]

_NEIGHBOURS = 10  # MUSE's K for CSLS
_BLOCK = 1024  # number of rows whose similarities to the whole other cluster are held in memory at once
_FEWEST_PAIRS = 20
# Fraction of rows that is held out from learning to evaluate it. A rotation of d dimensions has d (d - 1) / 2 degrees
# of freedom, so if it is fitted to a few thousand rows it raises the cosines of these rows whether or not they are
# translations.
_HELD_OUT = 0.25
_STANDARD_ERRORS = 3.0
# MUSE's settings of adversarial training.
_BATCH = 32
_DISCRIMINATOR_STEPS = 5
_BETA = 0.001


@dataclass(frozen=True, eq=False, slots=True)
class FittedRotation:
    """Result of :func:`fit_rotation`.

    Attributes
    ----------
    matrix
        ``W``: ``(d, d)`` float32, orthogonal.
    kept
        Where ``W`` comes from: ``"self-learning"``; the ``"adversarial"`` start, if self-learning did not improve on
        it; or the ``"identity"``, if nothing was better.
    iterations
        Number of rounds of self-learning.
    pairs
        Number of mutual nearest neighbours that ``W`` was fitted to; if it was fitted to none, the number found at the
        start.
    criterion_before, criterion_after
        The unsupervised criterion, a mean cosine in [-1, 1], under the identity and under ``W``, computed on rows that
        ``W`` was not fitted to.
    """

    matrix: Rows
    kept: Kept
    iterations: int
    pairs: int
    criterion_before: float
    criterion_after: float


def fit_rotation(
    source: Rows,
    target: Rows,
    *,
    iterations: int = 10,
    adversarial: bool = False,
    epochs: int = 5,
    steps: int = 250,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> FittedRotation:
    """Rotate one cluster of monolingual embeddings towards another, by self-learning.

    Starting from the identity (or the adversarial map), two steps alternate: finding mutual nearest neighbours by CSLS,
    and solving the Procrustes problem for these pairs. The result is the map with the highest mean cosine between rows
    and their CSLS neighbours. This is MUSE's criterion for choosing a map without supervision (section 2.3), computed
    here on the quarter of the rows that is held out from learning. The identity is one of the candidates, and a map
    only replaces it if it is better by three standard errors, so that failed learning leaves the embeddings unchanged
    by this criterion.

    The clusters must start close to each other, as those of a multilingual encoder do after shifting. The criterion
    cannot distinguish a match of the right groups of texts from one of groups that merely have a similar shape.

    With fewer pairs than dimensions the Procrustes problem is ill-posed: part of the rotation is arbitrary. Learning
    stops then, or below 20 pairs, so provide several times as many rows as there are dimensions.

    Parameters
    ----------
    source, target
        ``(n, d)`` and ``(m, d)`` float32 arrays; rows of any length, which are normalised.
    iterations
        Maximum number of rounds of self-learning; it also stops when the pairs no longer change.
    adversarial
        Whether to start from :func:`adversarial_rotation`, for clusters that start far apart. This is unstable, and
        slow without a GPU.
    epochs, steps
        Limits of the adversarial start; see :func:`adversarial_rotation`.
    seed
        Random seed that determines the held-out rows and the adversarial start.
    device
        Device on which torch computes.

    Returns
    -------
    FittedRotation
        The map and how it was found.

    Raises
    ------
    InputError
        If the clusters are not matrices of the same width, have fewer than two rows, or contain NaN or infinity.
    """
    _check_clouds(source, target)
    random = np.random.default_rng(seed)
    learn_source, held_source = _split(_unit(source, device), random)
    learn_target, held_target = _split(_unit(target, device), random)
    identity = torch.eye(source.shape[1], device=device)
    candidates: list[tuple[Kept, Tensor, int]] = []
    start = identity
    if adversarial:
        clouds = learn_source.cpu().numpy(), learn_target.cpu().numpy()
        learned = adversarial_rotation(*clouds, epochs=epochs, steps=steps, seed=seed, device=device)
        start = torch.from_numpy(learned).to(device)
    pairs = mutual_neighbours(learn_source @ start.T, learn_target)
    if adversarial:
        candidates.append(("adversarial", start, len(pairs)))
    rounds = list(_self_learning(learn_source, learn_target, pairs, iterations))
    candidates += [("self-learning", matrix, fitted_to) for matrix, fitted_to in rounds]

    before = _csls_nearest(held_source, held_target)[1]
    best: tuple[Kept, Tensor, int] = ("identity", identity, len(pairs))
    best_gain = 0.0
    for candidate in candidates:
        gains = _csls_nearest(held_source @ candidate[1].T, held_target)[1] - before
        error = gains.std(correction=0).item() / math.sqrt(len(gains))
        if gains.mean().item() > max(best_gain, _STANDARD_ERRORS * error):
            best, best_gain = candidate, gains.mean().item()
    return FittedRotation(
        matrix=best[1].cpu().numpy(),
        kept=best[0],
        iterations=len(rounds),
        pairs=best[2],
        criterion_before=before.mean().item(),
        criterion_after=before.mean().item() + best_gain,
    )


def procrustes(source: Rows, target: Rows) -> Rows:
    """Return the orthogonal ``W`` that minimises ``||source @ W.T - target||`` in the Frobenius norm.

    ``W = U V.T`` of the singular value decomposition ``U S V.T`` of ``target.T @ source`` (Schönemann 1966, "A
    generalized solution of the orthogonal Procrustes problem"). It may include a reflection. It is unique if that
    product has full rank; with fewer rows than dimensions part of it is arbitrary.

    Parameters
    ----------
    source, target
        ``(n, d)`` float32 arrays; row ``i`` of one corresponds to row ``i`` of the other.

    Returns
    -------
    numpy.ndarray
        ``W``: ``(d, d)`` float32, computed in float64.

    Raises
    ------
    InputError
        If the shapes differ.
    """
    if source.ndim != 2 or source.shape != target.shape:
        raise InputError(f"Procrustes needs two matrices of one shape, not {source.shape} and {target.shape}")
    u, _, v_transposed = np.linalg.svd(target.astype(np.float64).T @ source.astype(np.float64))
    return np.asarray(u @ v_transposed, dtype=np.float32)


def adversarial_rotation(
    source: Rows,
    target: Rows,
    *,
    epochs: int = 5,
    steps: int = 250,
    hidden: int = 2048,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> Rows:
    """Learn a rotation whose output a discriminator cannot distinguish from the target (MUSE, section 2.1).

    Training is unstable: it may succeed with one seed and fail with another, and clusters without distinct directions
    cannot be aligned this way at all. :func:`fit_rotation` therefore only uses the result as a start and evaluates it
    like any other map.

    The settings are the published defaults (github.com/facebookresearch/MUSE). The map starts as the identity. The
    discriminator has two hidden layers, leaky ReLU of 0.2, input dropout of 0.1 and labels smoothed by 0.1. A step uses
    32 rows of each cluster, with 5 discriminator steps per step of the map, and SGD at 0.1 for both. The learning rate
    of the map is multiplied by 0.98 each epoch and halved when the criterion decreases, from the second time on. After
    each step ``W <- 1.001 W - 0.001 W W.T W``. The map of the epoch with the highest criterion is returned. MUSE takes
    31,250 steps per epoch, over 75,000 words.

    Parameters
    ----------
    source, target
        ``(n, d)`` and ``(m, d)`` float32 arrays; rows of any length, which are normalised.
    epochs
        Number of times that the criterion is measured and the learning rate changed.
    steps
        Steps of the map per epoch. One takes about 0.15 s on a CPU core.
    hidden
        Width of the discriminator's layers.
    seed
        Random seed of the discriminator's weights, its dropout and the batches. Results are reproducible on one device
        and differ between devices.
    device
        Device on which to train.

    Returns
    -------
    numpy.ndarray
        ``(d, d)`` float32, orthogonal: the orthogonal matrix that is nearest to the learned map, or the identity if
        training diverged.

    Raises
    ------
    InputError
        If the clusters are not matrices of the same width, have fewer than two rows, or contain NaN or infinity.
    """
    _check_clouds(source, target)
    clouds = _unit(source, device), _unit(target, device)
    dims = source.shape[1]
    # The entries of unit rows are about 1 / sqrt(d), which is too small for the published learning rate.
    scaled = tuple(cloud * math.sqrt(dims) for cloud in clouds)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        discriminator = nn.Sequential(
            nn.Dropout(0.1), nn.Linear(dims, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, hidden),
            nn.LeakyReLU(0.2), nn.Linear(hidden, 1), nn.Flatten(0),
        ).to(device)  # fmt: skip
        mapping = nn.Linear(dims, dims, bias=False, device=device)
        nn.init.eye_(mapping.weight)
        judge = torch.optim.SGD(discriminator.parameters(), lr=0.1)
        mover = torch.optim.SGD(mapping.parameters(), lr=0.1)
        # Target probability, after smoothing, that a row belongs to the source.
        labels = torch.tensor([0.9, 0.1], device=device).repeat_interleave(_BATCH)

        def loss(wanted: Tensor) -> Tensor:
            drawn = [cloud[torch.randint(len(cloud), (_BATCH,)).to(cloud.device)] for cloud in scaled]
            return functional.binary_cross_entropy_with_logits(
                discriminator(torch.cat([mapping(drawn[0]), drawn[1]])), wanted
            )

        best = np.eye(dims, dtype=np.float32)
        best_criterion = -math.inf
        fell = False
        for _ in range(epochs):
            for _ in range(steps):
                discriminator.train()
                for _ in range(_DISCRIMINATOR_STEPS):
                    _step(judge, loss(labels))
                discriminator.eval()
                _step(mover, loss(1 - labels))
                with torch.no_grad():
                    weight = mapping.weight
                    weight.copy_((1 + _BETA) * weight - _BETA * weight @ weight.T @ weight)
            if not mapping.weight.isfinite().all():
                break
            matrix = procrustes(np.eye(dims, dtype=np.float32), mapping.weight.detach().T.cpu().numpy())
            criterion = _csls_nearest(clouds[0] @ torch.from_numpy(matrix).to(device).T, clouds[1])[1].mean().item()
            rate = mover.param_groups[0]["lr"] * 0.98
            if criterion > best_criterion:
                best, best_criterion = matrix, criterion
            else:
                rate *= 0.5 if fell else 1.0
                fell = True
            mover.param_groups[0]["lr"] = rate
    return best


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def _self_learning(source: Tensor, target: Tensor, pairs: Tensor, iterations: int) -> Iterator[tuple[Tensor, int]]:
    """Yield the map of each round and the number of pairs that it was fitted to."""
    for _ in range(iterations):
        if len(pairs) < max(source.shape[1], _FEWEST_PAIRS):
            return
        learned = procrustes(source[pairs[:, 0]].cpu().numpy(), target[pairs[:, 1]].cpu().numpy())
        matrix = torch.from_numpy(learned).to(source.device)
        yield matrix, len(pairs)
        previous, pairs = pairs, mutual_neighbours(source @ matrix.T, target)
        if torch.equal(pairs, previous):
            return


def mutual_neighbours(source: Tensor, target: Tensor, k: int = _NEIGHBOURS) -> Tensor:
    """Return the pairs of rows that are each other's nearest neighbour by CSLS.

    Cross-domain similarity local scaling (MUSE, section 2.3) is ``2 cos(x, y) - r(x) - r(y)``, where ``r`` of a row is
    its mean cosine to its ``k`` nearest rows of the other cluster. It prevents rows that are close to everything (hubs)
    from being the neighbour of most rows.

    Parameters
    ----------
    source, target
        ``(n, d)`` and ``(m, d)`` float32 unit rows.
    k
        Number of neighbours in the local scale; all rows if there are fewer.

    Returns
    -------
    torch.Tensor
        ``(p, 2)`` int64: row numbers of the source, in ascending order, and of the target. No row occurs twice.
    """
    forward = _csls_nearest(source, target, k)[0]
    backward = _csls_nearest(target, source, k)[0]
    rows = torch.arange(len(source), device=source.device)
    mutual = backward[forward] == rows
    return torch.stack([rows[mutual], forward[mutual]], dim=1)


def _csls_nearest(source: Tensor, target: Tensor, k: int = _NEIGHBOURS) -> tuple[Tensor, Tensor]:
    """Return the CSLS-nearest target row of each source row and its cosine, for unit rows: ``(n,)`` int64, float32."""
    # r(x) of the source row is the same for all rows that it is compared with, so it does not affect the order.
    scale = torch.cat([
        (block @ source.T).topk(min(k, len(source))).values.mean(1) for block in torch.split(target, _BLOCK)
    ])  # fmt: skip
    nearest, cosines = [], []
    for block in torch.split(source, _BLOCK):
        similarity = block @ target.T
        row = (2 * similarity - scale).argmax(1)
        nearest.append(row)
        cosines.append(similarity.gather(1, row[:, None])[:, 0])
    return torch.cat(nearest), torch.cat(cosines)


def _split(rows: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Split rows at random into those to learn from and those held out, at least one row held out."""
    order = torch.from_numpy(random.permutation(len(rows))).to(rows.device)
    held_out = max(1, int(len(rows) * _HELD_OUT))
    return rows[order[held_out:]], rows[order[:held_out]]


def _unit(rows: Rows, device: str | torch.device) -> Tensor:
    return functional.normalize(torch.from_numpy(np.asarray(rows, dtype=np.float32)).to(device), dim=1)


def _check_clouds(source: Rows, target: Rows) -> None:
    for name, rows in (("source", source), ("target", target)):
        if rows.ndim != 2 or len(rows) < 2:
            raise InputError(f"the {name} of a rotation has the shape {rows.shape}: give a matrix of at least two rows")
        if not np.isfinite(rows).all():
            raise InputError(f"the {name} of a rotation holds NaN or infinity: encode it again in float32")
    if source.shape[1] != target.shape[1]:
        raise InputError(
            f"the clouds have {source.shape[1]} and {target.shape[1]} dimensions: give embeddings of one encoder"
        )
