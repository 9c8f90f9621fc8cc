"""`python -m spacy reprtune explain`: why a pipeline predicts what it does."""

from pathlib import Path
from typing import Any, Dict, List, Optional

import typer
from wasabi import msg

from .overrides import CODE_PATH, USE_GPU

# Tokens in the table, and the colors of tokens that speak for and against a label.
SHOWN, FOR, AGAINST = 8, "blue", "red"


def explain_cli(
    model: str = typer.Argument(..., help="Directory or name of a pipeline"),
    text: Optional[str] = typer.Argument(None, help="Text whose predictions to explain"),
    errors: Optional[Path] = typer.Option(
        None,
        "--errors",
        "-e",
        help="Annotated texts (a .spacy file) whose most confident errors to explain",
        exists=True,
    ),
    most: int = typer.Option(10, "--n", "-n", help="Errors to explain per component", min=1),
    component: Optional[str] = typer.Option(
        None, "--component", help="Name of a component to explain  [default: all of them]"
    ),
    label: Optional[str] = typer.Option(
        None, "--label", "-l", help="Label to explain  [default: what was predicted]"
    ),
    output: Optional[Path] = typer.Option(
        None,
        "--output",
        "-o",
        help="JSON file. `reprtune report` shows those in its directory",
        dir_okay=False,
    ),
    code_path: Optional[Path] = CODE_PATH,
    use_gpu: int = USE_GPU,
) -> None:
    """
    Show how much each token contributes to a predicted label, entity or labeled span.

    Contributions are integrated gradients over the word pieces, added up by token: how much the
    token adds to the log odds of the label, negative where it speaks against it. They take 16
    forward passes each. With --errors and --output, `reprtune report` draws the most
    confident errors of a test set in color.
    """
    import srsly
    from spacy.cli._util import import_code, setup_gpu
    from spacy.util import load_model

    from ..data.corpus import read_docs
    from ..reporting.explain import explain, explain_errors

    if (text is None) == (errors is None):
        msg.fail("Give a TEXT, or --errors with a .spacy file", exits=1)
    if errors is not None and (component or label):
        msg.fail("--errors explains all components and labels", exits=1)
    import_code(code_path)
    try:
        setup_gpu(use_gpu, silent=True)
        nlp = load_model(model)
        if errors is not None:
            found = explain_errors(nlp, list(read_docs(errors, nlp.vocab)), most=most)
        else:
            made = explain(nlp, nlp(text or ""), component=component, label=label)
            found = [{"text": text, **explanation.to_dict()} for explanation in made]
    except (ValueError, OSError) as error:
        msg.fail("Can't explain", str(error), exits=1)
    for item in found:
        _print(item)
    if not found:
        msg.info("There is nothing to explain: no entity, no labeled span, or no error.")
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        srsly.write_json(output, {"model": str(model), "explanations": found})
        msg.good(f"Saved {output}")


def _print(item: Dict[str, Any]) -> None:
    from wasabi import color

    tokens, values = item["tokens"], item["contributions"]
    gold = f", gold: {item['gold']}" if "gold" in item else ""
    span = item["span"]
    about = f" {''.join(tokens[span[0] : span[1]]).strip()!r}" if span else ""
    msg.divider(f"{item['component']}:{about} {item['label']} {item['score']:.2f}{gold}")
    strongest = max(map(abs, values), default=0.0) or 1.0
    words: List[str] = []
    for token, value in zip(tokens, values, strict=True):
        strong = abs(value) > 0.25 * strongest
        tone = FOR if value > 0 else AGAINST
        shown = color(token.rstrip(), fg=tone, bold=True) if msg.show_color else token.rstrip()
        words.append(shown + token[len(token.rstrip()) :] if strong else token)
    print("".join(words))
    order = sorted(range(len(values)), key=lambda i: -abs(values[i]))[:SHOWN]
    rows = [(tokens[i].strip(), f"{values[i]:+.2f}") for i in order]
    if rows:
        msg.table(rows, header=("token", "log odds"), divider=True, aligns=("l", "r"))
