"""Clusters of saliency maps: by spectral clustering, by two other ways for comparison, and how stable they are."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from invreg import stream_key
from invreg_analyses.saliency.kernel_spread import normalised

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Labels = NDArray[np.int64]
    Vectors = NDArray[np.float64]

#: Maps that differ less than this, relative to the largest, are the same: what is left is rounding.
_SAME = 1e-4
#: Share of the pixels that is clustered again to see how much clusters depend on the choice of pixels.
_SAMPLE = 0.8
_COMPONENTS = 5
#: How many neighbours in the order of a projection a vector is compared with.
_NEIGHBOURS = 20


def spectral(vectors: Vectors, clusters: int, seed: int) -> Labels:
    """Spectral clustering on the graph with the weights exp(-γ d²), d the distances of the vectors.

    γ is 1, as vectors have entries of size 1; where their squared distances are larger in the median, it is one over
    that, or else every vector would stand alone.

    Source: von Luxburg 2007, "A tutorial on spectral clustering"; scikit-learn's implementation.
    """
    from scipy.spatial.distance import pdist
    from sklearn.cluster import SpectralClustering

    gamma = 1 / max(1.0, float(np.median(pdist(vectors, "sqeuclidean"))))
    # A tolerance of zero, the default, may iterate forever where eigenvalues lie close together.
    method = SpectralClustering(clusters, gamma=gamma, random_state=_small(seed), eigen_tol=1e-8)
    with fewer_is_fine():
        return np.asarray(method.fit_predict(vectors), dtype=np.int64)


def k_means(vectors: Vectors, clusters: int, seed: int) -> Labels:
    """k-means, the best of ten starts."""
    from sklearn.cluster import KMeans

    with fewer_is_fine():
        return np.asarray(KMeans(clusters, n_init=10, random_state=_small(seed)).fit_predict(vectors), dtype=np.int64)


def pca_k_means(vectors: Vectors, clusters: int, seed: int) -> Labels:
    """k-means on the first five principal components."""
    from sklearn.decomposition import PCA

    components = min(_COMPONENTS, *vectors.shape)
    return k_means(PCA(components, random_state=_small(seed)).fit_transform(vectors), clusters, seed)


def cluster(kernels: NDArray[np.float32], clusters: int, seed: int, method: Callable[..., Labels] = spectral) -> Labels:
    """Clusters `[P]` of saliency maps `[P, w, w]`, normalised with their signs kept.

    Maps that are the same up to rounding are in the same cluster, so there may be fewer than `clusters`.
    """
    vectors = normalised(kernels)
    groups = equal_groups(vectors)
    count = int(groups.max()) + 1
    if count <= clusters:
        return groups
    labels = method(vectors, clusters, seed)
    votes = np.zeros((count, clusters), dtype=np.int64)
    np.add.at(votes, (groups, labels), 1)
    return np.asarray(votes.argmax(1)[groups], dtype=np.int64)


def equal_groups(vectors: Vectors) -> Labels:
    """Numbers from 0 on, the same for vectors that are the same up to rounding, or linked by others that are.

    Memory grows with the number P of vectors; that of scikit-learn's DBSCAN, which finds the same groups, with P² where
    many vectors are equal.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(vectors)
    rounding = _SAME * max(float(np.linalg.norm(vectors, axis=1).max()), 1e-30)
    # Vectors that are close have projections that are close: their neighbours in that order are all that is compared.
    direction = np.random.default_rng(0).normal(size=vectors.shape[1])
    projections = vectors @ (direction / np.linalg.norm(direction))
    order = np.argsort(projections, kind="stable")
    links = []
    for offset in range(1, min(_NEIGHBOURS + 1, count)):
        first, second = order[:-offset], order[offset:]
        near = projections[second] - projections[first] <= rounding
        first, second = first[near], second[near]
        same = np.linalg.norm(vectors[first] - vectors[second], axis=1) <= rounding
        links.append(np.stack([first[same], second[same]]))
    pairs = np.concatenate(links, axis=1) if links else np.zeros((2, 0), dtype=np.int64)
    graph = coo_array((np.ones(pairs.shape[1], dtype=bool), (pairs[0], pairs[1])), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def label_maps(kernels: NDArray[np.float32], on_edge: NDArray[np.uint8], clusters: int, seed: int) -> Labels:
    """Clusters `[M, P]` of the saliency maps `[M, P, w, w]` of M maps at the same pixels, see `by_edges`."""
    return np.stack([by_edges(cluster(own, clusters, seed), on_edge) for own in kernels])


def cluster_seed(seed: int, image: str) -> int:
    """The seed of the clusters on an image, the same for all maps: equal maps have equal clusters."""
    return stream_key(seed, "saliency", "clusters", image)


def by_edges(labels: Labels, edges: NDArray[np.uint8]) -> Labels:
    """The same clusters `[P]`, renumbered by their shares of edge pixels: 0 is the one with the largest share.

    The paper counts edge pixels instead. Then a cluster of nearly all pixels comes before a small one on the edges, and
    its colour means something else from map to map. Of equal shares, the larger cluster comes first. `edges` `[P]` is
    zero off the edges.
    """
    names, numbers = np.unique(labels, return_inverse=True)
    counts = np.bincount(numbers, weights=edges > 0, minlength=len(names))
    sizes = np.bincount(numbers, minlength=len(names))
    order = np.lexsort((-sizes, -counts / sizes))
    return np.argsort(order)[numbers].astype(np.int64)


def agreement(first: Labels, second: Labels) -> float:
    """The adjusted Rand index of two clusterings: 1 if they are equal, 0 on average if they are unrelated."""
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(first, second))


def cluster_stability(
    kernels: NDArray[np.float32], labels: Labels, clusters: int, seed: int, repeats: int
) -> dict[str, float]:
    """Adjusted Rand indices of clusters with those found again in other ways.

    Returns:
        `seeds`: with other random numbers, the mean over `repeats`; `samples`: on a random 80 % of the pixels, the mean
        over `repeats`; `k_means`: by k-means; `pca_k_means`: by k-means on five principal components.
    """
    count = len(labels)
    seeds, samples = [], []
    for number in range(repeats):
        other = stream_key(seed, "again", number)
        seeds.append(agreement(labels, cluster(kernels, clusters, other)))
        size = max(round(_SAMPLE * count), clusters)
        part = np.random.default_rng(other).choice(count, size, replace=False)
        samples.append(agreement(labels[part], cluster(kernels[part], clusters, other)))
    return {
        "seeds": float(np.mean(seeds)),
        "samples": float(np.mean(samples)),
        "k_means": agreement(labels, cluster(kernels, clusters, seed, k_means)),
        "pca_k_means": agreement(labels, cluster(kernels, clusters, seed, pca_k_means)),
    }


@contextmanager
def fewer_is_fine() -> Iterator[None]:
    """Without the warning that there are fewer different vectors than clusters: some are empty then."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def _small(seed: int) -> int:
    """scikit-learn takes 32 bits."""
    return seed % 2**32
