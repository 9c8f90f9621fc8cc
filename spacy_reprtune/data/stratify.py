"""Assign texts to splits: by label, seeded, and with all copies of a text in one split."""

from array import array
from dataclasses import dataclass, field
from typing import Dict, List, Optional, Sequence, Tuple

import numpy
from numpy.typing import NDArray

from ..copies import bands, normalize, sign, stable_hash
from .corpus import SPLITS

# Texts that share a band of eight minima are kept together. This finds nearly all pairs with an
# overlap of 0.9 or more, and hardly any below 0.5. A wrong pair only moves a text.
_ROWS = 8
# A label with this many groups is in every split: a label that dev lacks can't be measured.
_ENOUGH = 5


def parse_split(text: str) -> Dict[str, float]:
    """Read shares such as "80/10/10".

    text (str): One to three numbers: train, dev and test. They need not sum to 100.
    RETURNS (Dict[str, float]): Split to share, summing to 1, those above 0.
    RAISES (ValueError): It is not a list of shares.
    """
    try:
        shares = [float(part) for part in text.split("/")]
    except ValueError:
        shares = []
    if not 1 <= len(shares) <= 3 or min(shares, default=-1) < 0 or not shares[0] > 0:
        raise ValueError(
            f"The split is {text!r}. Write the shares of train, dev and test: 80/10/10, or 90/10 "
            "without test, or 100 for train only."
        )
    total = sum(shares)
    return {split: share / total for split, share in zip(SPLITS, shares, strict=False) if share}


@dataclass
class Layout:
    """The facts about each text that decide its split, some hundred bytes per text.

    chunk (int): Number of texts whose bands are computed together.
    """

    chunk: int = 2000
    _texts: List[str] = field(default_factory=list)
    _exact: List[NDArray] = field(default_factory=list)
    _bands: List[NDArray] = field(default_factory=list)
    _groups: array = field(default_factory=lambda: array("Q"))
    _combinations: array = field(default_factory=lambda: array("q"))
    _known: Dict[Tuple[str, ...], int] = field(default_factory=dict)

    def add(self, text: str, labels: Sequence[str], group: Optional[str]) -> None:
        """Note the next text.

        text (str): Next text.
        labels (Sequence[str]): Labels and entity labels of the text, sorted.
        group (Optional[str]): Group that has to stay together.
        """
        self._texts.append(normalize(text))
        if len(self._texts) >= self.chunk:
            self._flush()
        # 0 stands for no group.
        self._groups.append(0 if group is None else stable_hash(group, 1) | 1)
        self._combinations.append(self._known.setdefault(tuple(labels), len(self._known)))

    def assign(self, shares: Dict[str, float], seed: int) -> List[str]:
        """Assign every text to a split.

        shares (Dict[str, float]): Split to share, summing to 1.
        seed (int): Seed of the split.
        RETURNS (List[str]): One split per text, in order.
        """
        if not self._groups:
            return []
        if len(shares) == 1:
            return list(shares) * len(self._groups)
        if self._texts:
            self._flush()
        unit_of, order_keys = self._units(seed)
        combinations = numpy.array(self._combinations)
        sizes = numpy.bincount(unit_of)
        rarest = self._rarest(unit_of, combinations)
        split_of_unit = _share_out(sizes, rarest, order_keys, shares)
        names = list(shares)
        return [names[k] for k in split_of_unit[unit_of]]

    def in_order(self, shares: Dict[str, float]) -> List[str]:
        """Split the texts of each label in their order: the first go to train, the last to test.

        Published data sets are often split in this way. Copies may end up in different splits.

        shares (Dict[str, float]): Split to share, summing to 1.
        RETURNS (List[str]): One split per text, in order.
        """
        names = list(shares)
        combinations = numpy.array(self._combinations)
        split_of = numpy.zeros(len(combinations), dtype=numpy.int64)
        ends = numpy.cumsum(list(shares.values()))[:-1]
        for combination in range(len(self._known)):
            rows = numpy.flatnonzero(combinations == combination)
            parts = numpy.split(rows, numpy.rint(ends * len(rows)).astype(int))
            for k, part in enumerate(parts):
                split_of[part] = k
        return [names[k] for k in split_of]

    def _flush(self) -> None:
        signatures = sign(self._texts)
        self._exact.append(signatures.exact)
        self._bands.append(bands(signatures, _ROWS))
        self._texts = []

    def _units(self, seed: int) -> Tuple[NDArray, NDArray]:
        """Number groups of connected texts, which are equal, share a band, or are in one group."""
        from scipy.sparse import coo_matrix
        from scipy.sparse.csgraph import connected_components

        exact = numpy.concatenate(self._exact)
        n = len(exact)
        groups = numpy.array(self._groups)
        edges = [_neighbors(exact), _neighbors(groups)]
        # Texts without a group do not form one.
        edges[1] = edges[1][:, groups[edges[1][0]] != 0]
        for k in range(self._bands[0].shape[1]):
            edges.append(_neighbors(numpy.concatenate([part[:, k] for part in self._bands])))
        row, col = numpy.concatenate(edges, axis=1)
        graph = coo_matrix((numpy.ones(len(row), dtype=bool), (row, col)), (n, n))
        _, unit_of = connected_components(graph, directed=False)
        # A unit's place in the queue depends on its texts and the seed, not on the file's order.
        mixed = exact ^ numpy.uint64(stable_hash("order", seed))
        mixed = (mixed ^ (mixed >> numpy.uint64(31))) * numpy.uint64(0x9E3779B97F4A7C15)
        order_keys = numpy.full(unit_of.max() + 1, numpy.iinfo(numpy.uint64).max, numpy.uint64)
        numpy.minimum.at(order_keys, unit_of, mixed)
        return unit_of, order_keys

    def _rarest(self, unit_of: NDArray, combinations: NDArray) -> NDArray:
        """Find the rarest label of each unit, because the rarest is the hardest to distribute.

        Sechidis et al. 2011, "On the stratification of multi-label data", in one pass.
        """
        counts = numpy.bincount(combinations, minlength=len(self._known))
        frequency: Dict[str, int] = {}
        for labels, index in self._known.items():
            for label in labels:
                frequency[label] = frequency.get(label, 0) + int(counts[index])
        ranked = {
            label: rank
            for rank, label in enumerate(sorted(frequency, key=lambda x: (frequency[x], x)))
        }
        none = len(ranked)
        rank_of = numpy.array(
            [min((ranked[label] for label in labels), default=none) for labels in self._known]
        )
        rarest = numpy.full(unit_of.max() + 1, none)
        numpy.minimum.at(rarest, unit_of, rank_of[combinations])
        return rarest


def _neighbors(keys: NDArray) -> NDArray:
    """Pair each text with the next one of the same key, as two rows of indices."""
    order = numpy.argsort(keys, kind="stable")
    same = numpy.flatnonzero(keys[order[1:]] == keys[order[:-1]])
    return numpy.stack([order[same], order[same + 1]])


def _share_out(
    sizes: NDArray, strata: NDArray, order_keys: NDArray, shares: Dict[str, float]
) -> NDArray:
    """Fill the splits, the rarest stratum first, each unit to the split that lacks most."""
    wanted_share = numpy.array(list(shares.values()))
    result = numpy.zeros(len(sizes), dtype=numpy.int64)
    # Texts that splits got too many or too few from earlier strata, because of rounding.
    carry = numpy.zeros(len(wanted_share))
    by_stratum = numpy.lexsort((order_keys, strata))
    cuts = numpy.flatnonzero(numpy.diff(strata[by_stratum])) + 1
    for units in numpy.split(by_stratum, cuts):
        # Large units first: they fit only while there is room.
        units = units[numpy.argsort(-sizes[units], kind="stable")]
        need = wanted_share * sizes[units].sum()
        if len(units) >= _ENOUGH:
            need = numpy.maximum(need, 1.0)
        lacking = need + carry
        taken = numpy.zeros(len(wanted_share))
        for unit in units.tolist():
            # With equal lack, train comes first.
            split = int(numpy.argmax(lacking - taken))
            result[unit] = split
            taken[split] += sizes[unit]
        carry = numpy.clip(wanted_share * sizes[units].sum() + carry - taken, -1, 1)
        if len(units) >= _ENOUGH:
            _leave_none_empty(units, result, sizes, len(wanted_share))
    return result


def _leave_none_empty(units: NDArray, result: NDArray, sizes: NDArray, n_splits: int) -> None:
    for split in range(n_splits):
        counts = numpy.bincount(result[units], minlength=n_splits)
        if counts[split]:
            continue
        donors = units[result[units] == counts.argmax()]
        result[donors[sizes[donors].argmin()]] = split
