"""`spacy_reprtune.MixedCorpus.v1`: one corpus made of several, each with its own annotation."""

from pathlib import Path
from typing import TYPE_CHECKING, Callable, Dict, Iterable, Iterator, Optional

from spacy.training import Corpus, Example
from spacy.util import registry

if TYPE_CHECKING:
    from spacy.language import Language


@registry.readers("spacy_reprtune.MixedCorpus.v1")
def MixedCorpus_v1(
    paths: Dict[str, Optional[str]], limit: int = 0
) -> "Callable[[Language], Iterable[Example]]":
    """Read several corpora one after the other, to train several components on one encoder.

    paths (Dict[str, Optional[str]]): `.spacy` files or directories of them, under names of your
        choice.
    limit (int): The most examples of each corpus; 0 for all.
    RETURNS (Callable[[Language], Iterable[Example]]): The reader.
    """

    def read(nlp: "Language") -> Iterator[Example]:
        if not paths:
            raise ValueError("The mixed corpus has no paths: name at least one.")
        for name, path in paths.items():
            if path is None or not Path(path).exists():
                raise ValueError(
                    f"The part '{name}' of the mixed corpus should be at {path!r}, but nothing is "
                    "there. Name a .spacy file, or a directory of them."
                )
            yield from Corpus(path, limit=limit)(nlp)

    return read
