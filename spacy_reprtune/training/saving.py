"""Save a pipeline as a whole, so that a kill while `spacy train` is saving damages nothing."""

from pathlib import Path
from typing import Any, Callable, Union

from spacy.language import Language

from ..files import flush_directory, replaced_directory


def save_whole_v1() -> Callable[[Language], Language]:
    """Write `model-last` beside the earlier one, and replace that once all components are written.

    By itself, `Language.to_disk` writes one component after another into the existing directory,
    so a killed training leaves components from different steps. With this callback, it leaves the
    earlier or the later pipeline. The next save removes what a killed one has left behind.

    RETURNS (Callable[[Language], Language]): A callback for `[training.before_to_disk]`.
    """

    def before_to_disk(nlp: Language) -> Language:
        def to_disk(path: Union[str, Path], **settings: Any) -> None:
            del nlp.to_disk
            with replaced_directory(Path(path)) as folder:
                nlp.to_disk(folder, **settings)
                flush_directory(folder)

        # Only for the next call.
        nlp.to_disk = to_disk  # type: ignore[method-assign]
        return nlp

    return before_to_disk
