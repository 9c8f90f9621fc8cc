"""Which text goes to which split: by label, seeded, and no text with a copy of it elsewhere."""

from dataclasses import dataclass, field
from typing import Dict, List, Optional, Sequence, Tuple

import numpy
from numpy.typing import NDArray

from .near import Signer, bands
from .splits import SPLITS, stable_hash

# Texts that share a band of eight minima are kept together. That finds nearly all pairs from an
# overlap of 0.9 on, and hardly any below 0.5: a pair that is found wrongly only moves a text.
_ROWS = 8
# A label with this many groups is in every split, because what is not in dev can't be measured.
_ENOUGH = 5


def parse_split(text: str) -> Dict[str, float]:
    """Read shares such as "80/10/10".

    text (str): One to three numbers: train, dev and test. They need not sum to 100.
    RETURNS (Dict[str, float]): Split to share, summing to 1, those above 0.
    RAISES (ValueError): It is no such list.
    """
    try:
        shares = [float(part) for part in text.split("/")]
    except ValueError:
        shares = []
    if not 1 <= len(shares) <= 3 or min(shares, default=-1) < 0 or not shares[0] > 0:
        raise ValueError(
            f"The split is {text!r}. Write the shares of train, dev and test: 80/10/10, or 90/10 "
            "without test, or 100 for train alone."
        )
    total = sum(shares)
    return {split: share / total for split, share in zip(SPLITS, shares, strict=False) if share}


@dataclass
class Layout:
    """What is known of each text before it gets a split.

    near (bool): Whether near duplicates stay together, besides exact ones.
    """

    near: bool = True
    _signer: Signer = field(default_factory=Signer)
    _groups: List[int] = field(default_factory=list)
    _combinations: List[int] = field(default_factory=list)
    _known: Dict[Tuple[str, ...], int] = field(default_factory=dict)

    def add(self, text: str, labels: Sequence[str], group: Optional[str]) -> None:
        """Take note of the next text.

        text (str): The text.
        labels (Sequence[str]): Its labels and entity types, sorted.
        group (Optional[str]): What it has to stay together with.
        """
        self._signer.add(text)
        self._groups.append(0 if group is None else stable_hash(group, 1) | 1)
        self._combinations.append(self._known.setdefault(tuple(labels), len(self._known)))

    def assign(self, shares: Dict[str, float], seed: int) -> List[str]:
        """Give every text a split.

        shares (Dict[str, float]): Split to share, summing to 1.
        seed (int): Another seed gives another split.
        RETURNS (List[str]): A split a text, in order.
        """
        if not self._groups:
            return []
        unit_of, order_keys = self._units(seed)
        combinations = numpy.array(self._combinations)
        sizes = numpy.bincount(unit_of)
        rarest = self._rarest(unit_of, combinations)
        split_of_unit = _share_out(sizes, rarest, order_keys, shares)
        names = list(shares)
        return [names[k] for k in split_of_unit[unit_of]]

    def _units(self, seed: int) -> Tuple[NDArray, NDArray]:
        """Connected texts: same group, same text, or a band in common."""
        from scipy.sparse import coo_matrix
        from scipy.sparse.csgraph import connected_components

        signatures = self._signer.finish()
        n = len(signatures)
        keys = [signatures.exact]
        if self.near:
            keys += list(bands(signatures, _ROWS).T)
        groups = numpy.array(self._groups, dtype=numpy.uint64)
        rows, cols, n_keys = [], [], 0
        for key in keys:
            _, column = numpy.unique(key, return_inverse=True)
            rows.append(numpy.arange(n))
            cols.append(column + n_keys)
            n_keys += int(column.max()) + 1
        grouped = numpy.flatnonzero(groups)
        if len(grouped):
            _, column = numpy.unique(groups[grouped], return_inverse=True)
            rows.append(grouped)
            cols.append(column + n_keys)
            n_keys += int(column.max()) + 1
        row, col = numpy.concatenate(rows), numpy.concatenate(cols)
        graph = coo_matrix((numpy.ones(len(row), dtype=bool), (row, col + n)), (n + n_keys,) * 2)
        _, unit_of = connected_components(graph, directed=False)
        _, unit_of = numpy.unique(unit_of[:n], return_inverse=True)
        # A unit's place in the queue depends on its texts and the seed, not on the file's order.
        mixed = signatures.exact ^ numpy.uint64(stable_hash("order", seed))
        mixed = (mixed ^ (mixed >> numpy.uint64(31))) * numpy.uint64(0x9E3779B97F4A7C15)
        order_keys = numpy.full(unit_of.max() + 1, numpy.iinfo(numpy.uint64).max, numpy.uint64)
        numpy.minimum.at(order_keys, unit_of, mixed)
        return unit_of, order_keys

    def _rarest(self, unit_of: NDArray, combinations: NDArray) -> NDArray:
        """The label of each unit that fewest texts have: what is hardest to share out comes first.

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


def _share_out(
    sizes: NDArray, strata: NDArray, order_keys: NDArray, shares: Dict[str, float]
) -> NDArray:
    """Fill the splits, the rarest stratum first, each unit to the split that lacks most."""
    wanted_share = numpy.array(list(shares.values()))
    result = numpy.zeros(len(sizes), dtype=numpy.int64)
    # What earlier strata gave too much or too little, by rounding.
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
