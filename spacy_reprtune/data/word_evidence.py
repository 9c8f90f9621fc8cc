"""What words say about annotation, beside the vectors of an encoder.

An encoder knows what a text means, and counts of words know how this corpus annotates it. Each
tells labels apart that the other confuses, so both together find more errors than either.
"""

from typing import List, Sequence, Tuple

import numpy
from numpy.typing import NDArray
from spacy.tokens import Doc

# Inverse strength of the regularization of the regression on words.
STRENGTH = 3.0


def word_probabilities(
    texts: Sequence[str], classes: NDArray, n_labels: int, folds: NDArray
) -> NDArray:
    """Compute probabilities of exclusive labels from TF-IDF weights of words and pairs of words,
    with logistic regressions that were fitted to the other folds.

    texts (Sequence[str]): The texts, of length n.
    classes (ndarray): The label of each, shape (n,); below 0 if it is unknown.
    n_labels (int): Number of labels.
    folds (ndarray): The fold of each, shape (n,).
    RETURNS (ndarray): Shape (n, n_labels); the same for all labels where nothing can be learned.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    found = numpy.full((len(texts), n_labels), 1 / n_labels)
    weigh = TfidfVectorizer(
        ngram_range=(1, 2), min_df=2, sublinear_tf=True, token_pattern=r"(?u)\w+|[^\w\s]"
    )
    try:
        words = weigh.fit_transform(texts)
    except ValueError:
        # No word is in two texts.
        return found
    for fold in numpy.unique(folds):
        train = numpy.flatnonzero((folds != fold) & (classes >= 0))
        test = numpy.flatnonzero(folds == fold)
        if len(numpy.unique(classes[train])) > 1:
            head = LogisticRegression(C=STRENGTH, max_iter=300).fit(words[train], classes[train])
            found[test] = 0.0
            found[test[:, None], head.classes_] = head.predict_proba(words[test])
    return found


def mixed(sources: Sequence[NDArray], classes: NDArray) -> NDArray:
    """Mix held-out probabilities from several sources: a weighted product, with the weights that
    make the known labels most probable.

    sources (Sequence[ndarray]): Probabilities of exclusive labels, each of shape (n, n_labels).
    classes (ndarray): The label of each row, shape (n,); below 0 if it is unknown.
    RETURNS (ndarray): Shape (n, n_labels).
    """
    from scipy.optimize import minimize
    from scipy.special import log_softmax, softmax

    logs = numpy.log(numpy.maximum(sources, 1e-9))
    known = numpy.flatnonzero(classes >= 0)

    def loss(weights: NDArray) -> float:
        found = log_softmax(numpy.tensordot(weights, logs[:, known], 1), axis=1)
        return -float(found[numpy.arange(len(known)), classes[known]].mean())

    first = numpy.full(len(sources), 1 / len(sources))
    best = minimize(loss, first, method="L-BFGS-B", bounds=[(0, None)] * len(sources)).x
    return softmax(numpy.tensordot(best, logs, 1), axis=1)


def tag_evidence(
    docs: Sequence[Doc], rows: NDArray, tags: NDArray, n_tags: int, groups: NDArray
) -> NDArray:
    """Count which tags the words of a token have in other texts: the token itself, with the one
    before it, and with the one after it.

    docs (Sequence[Doc]): The docs.
    rows (ndarray): The tokens that have tags, among the tokens of all docs in order, shape (n,).
    tags (ndarray): Their tags, shape (n,); below 0 if they are unknown.
    n_tags (int): Number of tags.
    groups (ndarray): The text of each token, shape (n,). A text does not count for itself.
    RETURNS (ndarray): The logarithm of how much more frequent each tag is than in the whole corpus,
        fp32, shape (n, 3 * n_tags); zeros for words that no other text has.
    """
    words: List[Tuple[int, int, int]] = []
    for doc in docs:
        forms = [0, *(token.lower for token in doc), 0]
        words += zip(forms, forms[1:], forms[2:], strict=False)
    neighbors = numpy.array(words, dtype=numpy.uint64)[rows]
    known = tags >= 0
    prior = (numpy.bincount(tags[known], minlength=n_tags) + 1) / (known.sum() + n_tags)
    parts = []
    for columns in ([1], [0, 1], [1, 2]):
        _, word = numpy.unique(neighbors[:, columns], axis=0, return_inverse=True)
        own = numpy.stack([groups, word.ravel()], axis=1)
        _, own_word = numpy.unique(own, axis=0, return_inverse=True)
        counts = _counts(word.ravel(), tags, known, n_tags) - _counts(
            own_word.ravel(), tags, known, n_tags
        )
        lift = (counts + prior) / (counts.sum(1, keepdims=True) + 1) / prior
        parts.append(numpy.log(lift).astype("f"))
    return numpy.concatenate(parts, axis=1)


def _counts(keys: NDArray, tags: NDArray, known: NDArray[numpy.bool_], n_tags: int) -> NDArray:
    """How often each tag occurs with the key of a row, for each row."""
    total = numpy.zeros((keys.max(initial=-1) + 1, n_tags), dtype="f")
    numpy.add.at(total, (keys[known], tags[known]), 1)
    return total[keys]
