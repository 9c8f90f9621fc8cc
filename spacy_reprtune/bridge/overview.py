"""A table of the trainable parts, for the log."""

from typing import TYPE_CHECKING, List, Optional, Tuple

from wasabi import table

from ..encoder.freezing import find_blocks

if TYPE_CHECKING:
    import torch

    from ..encoder.module import Encoder


def training_overview(
    encoder: "Encoder",
    head: "List[torch.nn.Parameter]",
    head_lr: float,
    *,
    rows: Optional[int] = None,
) -> str:
    """Describe the parts of a model: what trains, parameters, learning rates, what freezing saves.

    The saving is an estimate that counts only the blocks: the forward pass, the gradient of the
    inputs and the gradient of the weights cost about the same, and a cached block costs nothing
    after the first epoch.

    encoder (Encoder): The encoder.
    head (List[Parameter]): The head's weights.
    head_lr (float): Learning rate of the head as a multiple of the optimizer's.
    rows (Optional[int]): Number of rows that the cache will hold for the training data, if known.
    RETURNS (str): A table and, if blocks stay frozen, two lines below it. With `unfreeze_every`, it
        says from which update on each part trains.
    """
    blocks = find_blocks(encoder.model)
    inside = {p for block in blocks for p in block.parameters()}
    factors = encoder.rate_factors()
    rest = [p for p in encoder.model.parameters() if p not in inside]
    # The number of parts that train in the end, from the head downwards; embeddings come last.
    unfreeze, depth = encoder.settings.unfreeze, len(blocks)
    n_trained = {"all": depth + 1, "none": 0}.get(unfreeze, unfreeze)
    every = encoder.settings.unfreeze_every
    parts = [("embeddings and other", rest)]
    parts += [(f"block {i + 1}", list(block.parameters())) for i, block in enumerate(blocks)]
    data: List[Tuple[str, ...]] = []
    for below, (name, parameters) in enumerate(parts):
        turn = depth + 1 - below
        trains = turn <= n_trained
        rate = f"{max(factors[p] for p in parameters):.3g}" if trains else "-"
        state = "frozen" if not trains else f"trains from {turn * every}" if every else "trains"
        data.append((name, state, _count(parameters), rate))
    trains = any(p.requires_grad for p in head)
    rate = f"{head_lr:.3g}" if trains else "-"
    data.append(("head", "trains" if trains else "fitted", _count(head), rate))
    lines = table(
        data,
        header=("Part", "State", "Parameters", "Rate (x learn_rate)"),
        divider=True,
        aligns=("l", "l", "r", "r"),
    ).strip("\n")
    cut = encoder.passes.cut
    if not cut or (every and n_trained):
        return lines
    uncached = cut / len(blocks) * 2 / 3
    saved = uncached if encoder.cache is None else cut / len(blocks)
    lines += f"\nFrozen blocks: about {saved:.0%} less computation per epoch than training all"
    if encoder.cache is None:
        return lines + "; with the cache (cache_mb) it would be more."
    lines += ", after the first."
    if rows is not None:
        budget = encoder.settings.cache_mb
        need = rows * encoder.width * 2 / 1e6
        where = "more than" if need > budget else "within"
        lines += f"\nCache: about {need:.0f} MB for the training data, {where} cache_mb = {budget}"
        spill = encoder.settings.cache_dir
        lines += f"; the rest goes to {spill}." if need > budget and spill else "."
    return lines


def _count(parameters: "List[torch.nn.Parameter]") -> str:
    return f"{sum(p.numel() for p in parameters):,}"
