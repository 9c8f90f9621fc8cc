"""Upload a packaged pipeline to the Hugging Face hub, where pip and spaCy find it.

The repository gets the same files as from spaCy's own tools (see spacy-huggingface-hub): the
pipeline's files at the top, so that `spacy.load(snapshot_download(REPO))` loads them and the hub
shows the card, and the wheel beside them, so that `pip install` accepts its address.
"""

import re
import shutil
import tempfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import Optional, Sequence, Tuple, Type

_REPO = re.compile(r"[A-Za-z0-9][\w.\-]*/[A-Za-z0-9][\w.\-]*")
# Files of a repository to which nothing has been uploaded yet.
_OF_A_NEW_REPO = {".gitattributes", "README.md"}


def push_wheel(
    wheel: Path,
    repo: str,
    *,
    beside: Sequence[Path] = (),
    private: bool = False,
    overwrite: bool = False,
    message: Optional[str] = None,
    token: Optional[str] = None,
) -> str:
    """Upload a packaged pipeline to a repository of the hub, in one commit.

    huggingface_hub finds the token (`huggingface-cli login` or HF_TOKEN) and the hub (HF_ENDPOINT).
    All other files of the repository are deleted. If it has files but no pipeline, nothing happens
    unless `overwrite` is true.

    wheel (Path): A wheel built by `reprtune package` or `spacy package`.
    repo (str): ORGANIZATION/NAME, created if needed.
    beside (Sequence[Path]): More wheels to upload: this package's, if no index has it.
    private (bool): Whether a new repository is private.
    overwrite (bool): Whether to empty a repository whose files are not a spaCy pipeline.
    message (Optional[str]): Message of the commit.
    token (Optional[str]): Token to use instead.
    RETURNS (str): Address of the commit.
    RAISES (ValueError): The wheel holds no pipeline, the repository name is malformed, or the
        repository contains unrelated files.
    RAISES (OSError): The hub can't be reached or refuses. The message says what to do.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    if not _REPO.fullmatch(repo):
        raise ValueError(
            f"The repository is {repo!r}. Write ORGANIZATION/NAME: 'my-team/en_textcat_topics'."
        )
    for extra in beside:
        if extra.suffix != ".whl" or not extra.is_file():
            raise ValueError(f"{extra} is not a wheel.")
    with tempfile.TemporaryDirectory() as name:
        folder = unpack_pipeline(wheel, Path(name))
        for file in (wheel, *beside):
            shutil.copy(file, folder)
        api = HfApi(token=token)
        try:
            api.create_repo(repo, repo_type="model", private=private or None, exist_ok=True)
            if not overwrite:
                _refuse_other_files(api.list_repo_files(repo), repo)
            commit = api.upload_folder(
                repo_id=repo,
                folder_path=folder,
                commit_message=message or folder.name.replace("-", " "),
                # huggingface_hub keeps .gitattributes.
                delete_patterns="*",
            )
        except HfHubHTTPError as error:
            status = getattr(error.response, "status_code", None)
            said = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            if status not in (401, 403):
                said = f"The hub at {api.endpoint} refused '{repo}' ({status}: {said})."
                raise OSError(said) from error
            raise OSError(
                f"The hub at {api.endpoint} does not let you write to '{repo}' ({said}). Log in "
                "with a token that may write (huggingface-cli login, or HF_TOKEN), and check that "
                "the organization is yours."
            ) from error
        except _transport_errors() as error:
            raise OSError(
                f"Can't reach the hub at {api.endpoint} ({type(error).__name__}: {error}). "
                "Check the network. HF_ENDPOINT names another hub; HF_HUB_OFFLINE must not be set."
            ) from error
    return str(commit.commit_url)


def unpack_pipeline(wheel: Path, folder: Path) -> Path:
    """Unpack the pipeline's own directory from a wheel.

    wheel (Path): The wheel.
    folder (Path): Where to unpack it.
    RETURNS (Path): The directory, named NAME-VERSION.
    RAISES (ValueError): It is not a wheel, it holds no pipeline, or it names a file outside of
        the pipeline's directory.
    """
    try:
        archive = zipfile.ZipFile(wheel)
    except (OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{wheel} is not a wheel: {error}") from error
    with archive:
        configs = [n for n in archive.namelist() if re.fullmatch(r"[^/]+/[^/]+/config\.cfg", n)]
        if len(configs) != 1:
            raise ValueError(
                f"{wheel} is not the wheel of a pipeline: it has no NAME/NAME-VERSION/config.cfg. "
                "`reprtune package` builds one."
            )
        top = str(PurePosixPath(configs[0]).parent)
        names = [n for n in archive.namelist() if n.startswith(f"{top}/")]
        for name in names:
            # `extract` writes nothing outside of the folder; but it leaves ".." and the second
            # of two slashes out, and would write to another place than the wheel names.
            if ".." in name.split("/") or "//" in name:
                raise ValueError(
                    f"{wheel} names a file outside of its pipeline: {name!r}. It was not built by "
                    "`reprtune package`, or was tampered with."
                )
        archive.extractall(folder, names)
    return folder / top


def _transport_errors() -> Tuple[Type[Exception], ...]:
    """Errors of requests are OSErrors. Errors of httpx, which huggingface_hub 1.0 uses, are not."""
    try:
        from httpx import TransportError
    except ImportError:
        return (OSError,)
    return OSError, TransportError


def _refuse_other_files(files: Sequence[str], repo: str) -> None:
    """Refuse to delete files that spaCy did not write: the repository may have another purpose."""
    others = sorted(set(files) - _OF_A_NEW_REPO)
    if others and "meta.json" not in files:
        raise ValueError(
            f"The repository {repo!r} exists and is not a spaCy pipeline: it has no meta.json, but "
            f"{', '.join(others[:5])}{' and more' if len(others) > 5 else ''}. A push deletes all "
            "that is there. Name another repository, or say --overwrite."
        )
