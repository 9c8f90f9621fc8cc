"""A packaged pipeline onto the Hugging Face hub, where pip and spaCy find it.

The repository gets what spaCy's own tools put there (see spacy-huggingface-hub): the pipeline's
files at the top, so that `spacy.load(snapshot_download(REPO))` loads them and the hub shows the
card, and the wheel beside them, so that `pip install` takes its address.
"""

import re
import tempfile
import zipfile
from pathlib import Path
from typing import Optional, Sequence

# One part or two, as the hub has it.
_REPO = re.compile(r"[A-Za-z0-9][\w.\-]*/[A-Za-z0-9][\w.\-]*")
# What a repository may have before anything was put there.
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
    """Put a packaged pipeline into a repository of the hub, in one commit.

    The token is that of `huggingface-cli login` or HF_TOKEN, and the hub that of HF_ENDPOINT, where
    huggingface_hub reads them. All other files of the repository are deleted; if it has
    files and is no pipeline, nothing is done, unless `overwrite`.

    wheel (Path): What `reprtune package` or `spacy package` built.
    repo (str): ORGANISATION/NAME. It is made if it is not there.
    beside (Sequence[Path]): More wheels to put there: this package's, where no index has it.
    private (bool): Whether a new repository is only for members.
    overwrite (bool): Whether to empty a repository whose files are no spaCy pipeline.
    message (Optional[str]): Of the commit.
    token (Optional[str]): A token to use instead.
    RETURNS (str): The address of the commit.
    RAISES (ValueError): The wheel is none of a pipeline, the repository's name is none, or
        there are files of something else in it.
    RAISES (OSError): The hub can't be reached, or refuses; the message says what to do.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    if not _REPO.fullmatch(repo):
        raise ValueError(
            f"The repository is {repo!r}. Write ORGANISATION/NAME: 'my-team/en_textcat_topics'."
        )
    for extra in beside:
        if extra.suffix != ".whl" or not extra.is_file():
            raise ValueError(f"{extra} is no wheel.")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        version = unpack_pipeline(wheel, folder)
        for file in (wheel, *beside):
            (folder / file.name).write_bytes(file.read_bytes())
        api = HfApi(token=token)
        try:
            api.create_repo(repo, repo_type="model", private=private or None, exist_ok=True)
            if not overwrite:
                _refuse_other_files(api.list_repo_files(repo), repo)
            commit = api.upload_folder(
                repo_id=repo,
                folder_path=folder,
                commit_message=message or f"{wheel.name.split('-')[0]} {version}",
                # .gitattributes stays, huggingface_hub sees to that.
                delete_patterns="*",
            )
        except HfHubHTTPError as error:
            raise OSError(_explain(error, repo, api.endpoint)) from error
        except OSError as error:
            raise OSError(
                f"Can't reach the hub at {api.endpoint} ({type(error).__name__}: {error}). "
                "Check the network; HF_ENDPOINT names another hub, and HF_HUB_OFFLINE has to be "
                "unset."
            ) from error
    return str(commit.commit_url)


def unpack_pipeline(wheel: Path, folder: Path) -> str:
    """Take the pipeline's own directory out of a wheel.

    wheel (Path): The wheel.
    folder (Path): Where its files go.
    RETURNS (str): The pipeline's version.
    RAISES (ValueError): It is no wheel, there is no pipeline in it, or it has an entry that would
        be written outside of the folder.
    """
    try:
        archive = zipfile.ZipFile(wheel)
    except (OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{wheel} is no wheel: {error}") from error
    with archive:
        configs = [n for n in archive.namelist() if re.fullmatch(r"[^/]+/[^/]+/config\.cfg", n)]
        if len(configs) != 1:
            raise ValueError(
                f"{wheel} is no wheel of a pipeline: it has no NAME/NAME-VERSION/config.cfg. "
                "`reprtune package` builds one."
            )
        top = configs[0][: -len("config.cfg")]
        names = [n for n in archive.namelist() if n.startswith(top) and not n.endswith("/")]
        # All targets first: of a bad wheel nothing is written.
        targets = [_inside(folder, name[len(top) :], wheel) for name in names]
        for name, target in zip(names, targets, strict=True):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(name))
    return top.rstrip("/").rpartition("-")[2]


def _refuse_other_files(files: Sequence[str], repo: str) -> None:
    """What spaCy did not write is not deleted: a name may be that of another repository."""
    others = sorted(set(files) - _OF_A_NEW_REPO)
    if others and "meta.json" not in files:
        raise ValueError(
            f"The repository {repo!r} exists and is no spaCy pipeline: it has no meta.json, but "
            f"{', '.join(others[:5])}{' and more' if len(others) > 5 else ''}. A push deletes all "
            "that is there. Name another repository, or say --overwrite."
        )


def _inside(folder: Path, entry: str, wheel: Path) -> Path:
    """An entry may go up (..), or be absolute after a double slash; a path joined to it is too."""
    root = folder.resolve()
    target = (root / entry).resolve()
    if root not in target.parents:
        raise ValueError(
            f"{wheel} names a file outside of its pipeline: {entry!r}. It is no wheel of a "
            "pipeline's package, or was tampered with. `reprtune package` builds one."
        )
    return target


def _explain(error: Exception, repo: str, endpoint: str) -> str:
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    said = str(error).strip().splitlines()
    said_last = said[-1] if said else type(error).__name__
    if status in (401, 403):
        return (
            f"The hub at {endpoint} does not let you write to '{repo}' ({said_last}). Log in with "
            "a token that may write (huggingface-cli login, or HF_TOKEN), and check that the "
            "organisation is yours."
        )
    return f"The hub at {endpoint} refused '{repo}' ({status}: {said_last})."
