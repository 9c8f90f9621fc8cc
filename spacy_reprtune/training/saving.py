"""Save a pipeline as a whole: what `spacy train` is writing when it is killed replaces nothing."""

from pathlib import Path
from typing import Any, Callable, Union

from spacy.language import Language

from ..files import replaced_directory


def save_whole_v1() -> Callable[[Language], Language]:
    """Write `model-last` beside the earlier one, which it replaces when all components are there.

    By itself, `Language.to_disk` writes one component after another into the directory that is
    there, and a killed training leaves components of different steps. What is left of it is removed
    by the next save.

    RETURNS (Callable[[Language], Language]): A callback for `[training.before_to_disk]`.
    """

    def before_to_disk(nlp: Language) -> Language:
        def to_disk(path: Union[str, Path], **settings: Any) -> None:
            del nlp.to_disk
            with replaced_directory(Path(path)) as folder:
                nlp.to_disk(folder, **settings)

        # For the one call that follows.
        nlp.to_disk = to_disk  # type: ignore[method-assign]
        return nlp

    return before_to_disk
