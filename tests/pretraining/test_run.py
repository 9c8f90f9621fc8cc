"""A run ends with an encoder that everything loads, and a killed one ends with the same weights."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import spacy
import torch
from conftest import save_encoder, wordpiece_tokenizer
from safetensors.torch import load_file

from spacy_reprtune.pretraining.run import pretrain
from spacy_reprtune.pretraining.settings import settings_from

WORKER = """
import json, sys
from pathlib import Path
from spacy_reprtune.pretraining.run import pretrain
from spacy_reprtune.pretraining.settings import settings_from
pretrain(settings_from(json.loads(sys.argv[1])), Path(sys.argv[2]))
"""


def weights(output: Path):
    return load_file(output / "encoder" / "model.safetensors")


def start(config, output, **environment):
    command = [sys.executable, "-c", WORKER, json.dumps(config), str(output)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)


def assert_same(one, other, **tolerance):
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], **(tolerance or {"rtol": 0, "atol": 0}))


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_encoder, text_file):
    """A run, its report and its directory."""
    output = tmp_path_factory.mktemp("runs") / "run"
    config = {
        "encoder": {"name": str(tiny_encoder), "precision": "fp32", "device": "cpu"},
        "corpus": {"train": str(text_file), "heldout": 0.1, "general": str(text_file)},
        "training": {
            "max_epochs": 0,
            "max_steps": 60,
            "step_pieces": 512,
            "batch_pieces": 256,
            "learn_rate": 5e-3,
            "head_steps": 10,
            "head_learn_rate": 1e-2,
            "eval_every": 20,
        },
        "report": {"fill_mask": ["a great [MASK]"], "log_every": 1},
    }
    return pretrain(settings_from(config), output), output


def test_the_held_out_loss_falls(finished):
    report, _ = finished
    assert report["after"]["heldout"] < report["before"]["heldout"] - 0.1
    assert report["after"]["general"] < report["before"]["general"]
    assert report["steps"] == 60 and report["head_steps"] == 10
    assert report["packed"] and report["packing_efficiency"] > 0.9


def test_the_log_has_every_step_and_every_evaluation(finished):
    _, output = finished
    rows = [json.loads(row) for row in (output / "log.jsonl").open(encoding="utf8")]
    assert [row["step"] for row in rows if "loss" in row] == list(range(1, 71))
    assert [row["step"] for row in rows if "heldout" in row] == [10, 30, 50, 70]
    assert {"learn_rate", "gradient_norm", "pieces_per_second"} <= set(rows[0])
    assert rows[0]["learn_rate"] == 1e-2 and rows[-2]["learn_rate"] < 5e-3


def test_the_report_shows_masks_filled_before_and_after(finished):
    report, output = finished
    row = report["fill_mask"][0]
    assert len(row["before"]) == len(row["after"]) == 5
    page = (output / "report.md").read_text(encoding="utf8")
    assert "| a great [MASK] |" in page and "| domain |" in page and "| general |" in page
    assert (output / "loss.png").stat().st_size > 1000


def test_a_mask_at_the_end_of_a_long_sentence_is_filled(tmp_path, settings):
    sentence = "a great film " * 40 + "[MASK] is fine " + "a dull film " * 40
    report = pretrain(settings(report={"fill_mask": [sentence, "[MASK]"]}), tmp_path / "run")
    assert [len(row["after"]) for row in report["fill_mask"]] == [5, 5]


def test_transformers_loads_the_encoder_with_its_head(finished):
    from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer

    _, output = finished
    path = output / "encoder"
    model, info = AutoModelForMaskedLM.from_pretrained(path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    tokenizer = AutoTokenizer.from_pretrained(path)
    assert tokenizer.mask_token == "[MASK]"
    bare = AutoModel.from_pretrained(path)
    inputs = tokenizer("a great film", return_tensors="pt")
    found = bare.eval()(**inputs)[0]
    torch.testing.assert_close(found, model.eval().bert(**inputs)[0])


def test_the_encoder_goes_into_a_spacy_pipeline_by_its_name(finished):
    _, output = finished
    encoder = {"@architectures": "spacy_reprtune.Encoder.v1", "name": str(output / "encoder")}
    model = {"@architectures": "spacy_reprtune.TextClassifier.v1", "encoder": encoder}
    nlp = spacy.blank("en")
    nlp.add_pipe("reprtune_textcat", config={"model": model}).add_label("GOOD")
    nlp.get_pipe("reprtune_textcat").add_label("BAD")
    nlp.initialize()
    assert set(nlp("a great film").cats) == {"GOOD", "BAD"}


def test_sentence_transformers_loads_it_with_the_source_s_pooling(tmp_path, tiny_encoder, settings):
    from sentence_transformers import SentenceTransformer, models

    source = tmp_path / "sentence"
    parts = [models.Transformer(str(tiny_encoder)), models.Pooling(16), models.Normalize()]
    SentenceTransformer(modules=parts, device="cpu").save(str(source))
    pretrain(settings(encoder={"name": str(source)}), tmp_path / "run")
    before, after = (
        SentenceTransformer(str(path), device="cpu", local_files_only=True)
        for path in (source, tmp_path / "run" / "encoder")
    )
    assert [type(m).__name__ for m in after] == ["Transformer", "Pooling", "Normalize"]
    vector = after.encode("a great film")
    assert abs((vector**2).sum() - 1.0) < 1e-5
    assert abs(vector - before.encode("a great film")).max() > 1e-4


def test_weights_of_the_layers_after_the_encoder_are_kept(tmp_path, tiny_encoder, settings, caplog):
    from sentence_transformers import SentenceTransformer, models

    source = tmp_path / "sentence"
    parts = [models.Transformer(str(tiny_encoder)), models.Pooling(16), models.Dense(16, 8)]
    SentenceTransformer(modules=parts, device="cpu").save(str(source))
    run = settings(encoder={"name": str(source)})
    pretrain(run, tmp_path / "run")
    adapted = SentenceTransformer(
        str(tmp_path / "run" / "encoder"), device="cpu", local_files_only=True
    )
    torch.testing.assert_close(adapted[2].linear.weight, parts[2].linear.weight)
    dense = source / "2_Dense"
    (dense / "model.safetensors").rename(dense / "pytorch_model.bin")
    pretrain(run, tmp_path / "other")
    assert "2_Dense are a pickle (pytorch_model.bin) and are not copied" in caplog.text


def losses(encoder, corpus):
    """Held-out loss of an encoder directory that has a head, as a run measures it."""
    from spacy_reprtune.pretraining.corpus import build_corpus
    from spacy_reprtune.pretraining.model import load
    from spacy_reprtune.pretraining.packing import Packer
    from spacy_reprtune.pretraining.processes import World
    from spacy_reprtune.pretraining.settings import EncoderPart
    from spacy_reprtune.pretraining.steps import evaluate

    lm, _, new = load(EncoderPart(str(encoder), precision="fp32", device="cpu"))
    assert not new
    parts = build_corpus(corpus, lm.tokenizer, encoder.parent / "measured")
    found = {}
    for name in ("heldout", "general"):
        prefix, suffix = lm.tokenizer.prefix, lm.tokenizer.suffix
        packer = Packer(
            getattr(parts, name), limit=lm.limit, prefix=prefix, suffix=suffix, batch_pieces=256
        )
        found[name] = evaluate(lm, packer, World())
    return found


def test_an_encoder_that_has_a_head_keeps_it_and_its_losses_before_are_as_it_came(
    finished, settings, tmp_path, text_file
):
    first, output = finished
    general = tmp_path / "general.txt"
    general.write_text("\n".join(text_file.read_text().splitlines()[:20]), encoding="utf8")
    run = settings(
        encoder={"name": str(output / "encoder")},
        corpus={"general": str(general)},
        training={"head_steps": 50, "learn_rate": 1e-2},
    )
    report = pretrain(run, tmp_path / "next")
    assert report["head_steps"] == 0 and report["head"] == "own"
    assert report["before"]["heldout"] == pytest.approx(first["after"]["heldout"], abs=0.05)
    assert report["before"] == pytest.approx(losses(output / "encoder", run.corpus), abs=1e-4)
    page = (tmp_path / "next" / "report.md").read_text(encoding="utf8")
    assert "under the head that it came with" in page and "new head" not in page


def test_the_report_says_that_a_head_was_made_before_the_first_losses(finished):
    report, output = finished
    assert report["head"] == "new"
    page = (output / "report.md").read_text(encoding="utf8")
    assert "not one of its weights changed" in page and "alone for 10 steps" in page


def test_a_new_head_begins_with_the_frequencies_of_pieces(tiny_encoder, text_file, tmp_path):
    from spacy_reprtune.pretraining.corpus import build_corpus
    from spacy_reprtune.pretraining.model import load
    from spacy_reprtune.pretraining.packing import Packer
    from spacy_reprtune.pretraining.processes import World
    from spacy_reprtune.pretraining.settings import CorpusPart, EncoderPart
    from spacy_reprtune.pretraining.steps import evaluate, start_head

    lm, _, new = load(EncoderPart(str(tiny_encoder), precision="fp32", device="cpu"))
    corpus = build_corpus(CorpusPart(str(text_file), heldout=0.1), lm.tokenizer, tmp_path)
    packer = Packer(corpus.heldout, limit=64, prefix=[2], suffix=[3], batch_pieces=512)
    before = evaluate(lm, packer, World())
    start_head(lm, corpus.train)
    assert new and evaluate(lm, packer, World()) < before - 1.0


def test_the_head_s_steps_leave_the_encoder_as_it_is(tmp_path, tiny_encoder, settings):
    from spacy_reprtune.pretraining.model import load_with_head

    wanted = load_with_head(tiny_encoder)[0].state_dict()
    run = settings(training={"head_steps": 4, "max_steps": 1, "learn_rate": 1e-30})
    pretrain(run, tmp_path / "run")
    found = weights(tmp_path / "run")
    moved = {name for name in found if not torch.allclose(found[name], wanted[name], atol=1e-7)}
    assert moved and all(name.startswith("cls.") for name in moved)


@pytest.mark.parametrize("unfreeze", ["none", 1])
def test_frozen_blocks_are_bit_identical(tmp_path, tiny_encoder, settings, unfreeze):
    from spacy_reprtune.pretraining.model import load_with_head

    before = load_with_head(tiny_encoder)[0].state_dict()
    run = settings(encoder={"unfreeze": unfreeze}, training={"keep": "last"})
    pretrain(run, tmp_path / "run")
    after = weights(tmp_path / "run")
    frozen = [n for n in after if n.startswith(("bert.embeddings", "bert.encoder.layer.0"))]
    assert all(torch.equal(after[name], before[name]) for name in frozen)
    moved = not torch.equal(
        *(w["bert.encoder.layer.1.output.dense.weight"] for w in (before, after))
    )
    assert moved == (unfreeze == 1)


def test_killed_and_resumed_runs_end_with_the_same_weights(tmp_path, run_config):
    config = run_config(training={"max_steps": 40, "eval_every": 3, "keep": "last"})
    config["encoder"]["dropout"] = 0.1
    # In a process like the killed ones: another number of threads rounds sums differently.
    process = start(config, tmp_path / "whole")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    kills = 0
    for seconds in (0.05, 0.4, 0.9):
        process = start(config, tmp_path / "killed")
        checkpoints = tmp_path / "killed" / "checkpoints"
        deadline = time.monotonic() + 120
        seen = sorted(checkpoints.glob("step-*"))
        while process.poll() is None and sorted(checkpoints.glob("step-*")) == seen:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(seconds)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.communicate()
    assert kills
    process = start(config, tmp_path / "killed")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert_same(weights(tmp_path / "killed"), weights(tmp_path / "whole"))
    assert not list((tmp_path / "killed").rglob(".*"))
    rows = [json.loads(r) for r in (tmp_path / "killed" / "log.jsonl").open(encoding="utf8")]
    assert [row["step"] for row in rows if "loss" in row] == list(range(1, 45))


def test_a_damaged_checkpoint_is_passed_over_aloud(tmp_path, run_config, caplog):
    settings = settings_from(run_config(training={"keep": "last"}))
    pretrain(settings, tmp_path / "whole")
    output = tmp_path / "damaged"
    pretrain(settings, output)
    (output / "report.json").unlink()
    newest = max((output / "checkpoints").iterdir())
    file = newest / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-50])
    with caplog.at_level(logging.WARNING):
        pretrain(settings, output)
    assert f"{newest} is damaged" in caplog.text and "one before it is used" in caplog.text
    assert_same(weights(output), weights(tmp_path / "whole"))


def test_a_damaged_best_checkpoint_gives_way_to_the_last(tmp_path, settings, caplog):
    run = settings(training={"learn_rate": 1.0, "max_steps": 16})
    output = tmp_path / "run"
    pretrain(run, output)
    (output / "report.json").unlink()
    best = min((output / "checkpoints").iterdir())
    (best / "model.safetensors").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        report = pretrain(run, output)
    assert "last weights are the result instead of the best" in caplog.text
    assert report["result_step"] == report["steps"]


def test_only_damaged_checkpoints_are_an_error_and_fresh_starts_over(tmp_path, settings):
    output = tmp_path / "run"
    pretrain(settings(), output)
    first = weights(output)
    (output / "report.json").unlink()
    for folder in (output / "checkpoints").iterdir():
        (folder / "state.json").write_text("{", encoding="utf8")
    with pytest.raises(ValueError, match="All checkpoints .* are damaged. Start over with --fresh"):
        pretrain(settings(), output)
    pretrain(settings(), output, fresh=True)
    assert_same(weights(output), first)


def test_a_complete_run_is_left_alone(finished, tmp_path, settings):
    output = tmp_path / "run"
    report = pretrain(settings(), output)
    stamp = (output / "encoder" / "model.safetensors").stat().st_mtime_ns
    assert pretrain(settings(), output) == report
    assert (output / "encoder" / "model.safetensors").stat().st_mtime_ns == stamp


def test_other_settings_or_text_are_refused_with_the_difference(tmp_path, settings, text_file):
    output = tmp_path / "run"
    pretrain(settings(), output)
    with pytest.raises(ValueError, match=r"\[training\] seed was 0 and is 1"):
        pretrain(settings(training={"seed": 1}), output)
    lines = text_file.read_text(encoding="utf8").splitlines()
    copy = tmp_path / "text.txt"
    copy.write_text("\n".join(lines[:-9]), encoding="utf8")
    with pytest.raises(ValueError, match=r"\[corpus\] train was .*; text was"):
        pretrain(settings(corpus={"train": str(copy)}), output)


def test_a_directory_with_something_else_is_not_touched(tmp_path, settings):
    (tmp_path / "thesis.tex").write_text("years of work", encoding="utf8")
    for fresh in (False, True):
        with pytest.raises(ValueError, match="holds something else"):
            pretrain(settings(), tmp_path, fresh=fresh)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(ValueError, match="is a file. Name a directory"):
        pretrain(settings(), tmp_path / "thesis.tex")


def test_a_run_killed_while_it_writes_its_report_goes_on(tmp_path, settings, monkeypatch):
    write = Path.write_text

    def killed(path, content, **how):
        if "report.json" not in path.name:
            return write(path, content, **how)
        write(path, content[:9], **how)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        pretrain(settings(), tmp_path / "run")
    monkeypatch.undo()
    assert pretrain(settings(), tmp_path / "run")["steps"] == 12
    assert not list((tmp_path / "run").glob(".*"))


def test_an_output_directory_among_the_texts_is_refused(tmp_path, settings, text_file):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_bytes(text_file.read_bytes())
    folder = str(tmp_path / "texts")
    for corpus in ({"train": folder}, {"exclude": [folder]}, {"general": folder}):
        with pytest.raises(ValueError, match="run is in .*texts, which text is read from"):
            pretrain(settings(corpus=corpus), tmp_path / "texts" / "run")
    assert [path.name for path in (tmp_path / "texts").iterdir()] == ["a.txt"]
    pretrain(settings(corpus={"train": folder}), tmp_path / "run")


def test_a_tokenizer_without_a_mask_is_refused(tmp_path, settings):
    path = save_encoder(tmp_path / "encoder", tokenizer=wordpiece_tokenizer(mask_token=None))
    with pytest.raises(ValueError, match="has no mask token"):
        pretrain(settings(encoder={"name": str(path)}), tmp_path / "run")


def test_training_stops_when_the_held_out_loss_no_longer_falls(tmp_path, settings):
    run = settings(training={"learn_rate": 1e-30, "max_steps": 100, "patience": 2})
    report = pretrain(run, tmp_path / "run")
    assert report["steps"] < 100


def test_a_gradient_that_is_not_finite_touches_no_weight(tmp_path, settings):
    run = settings(training={"head_learn_rate": 1e38, "head_steps": 50})
    with pytest.raises(ValueError, match=r"norm of the gradient is .* Lower \[training\]"):
        pretrain(run, tmp_path / "run")


def spread(config, output, world=2):
    """Run with several processes, as `torchrun` and `accelerate launch` start them."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = [
        start(config, output, RANK=str(rank), LOCAL_RANK=str(rank), **shared)
        for rank in range(world)
    ]
    results = [process.communicate(timeout=300) for process in processes]
    return [p.returncode for p in processes], [errors for _, errors in results]


def test_two_processes_end_with_the_weights_of_one(tmp_path, run_config):
    config = run_config(training={"keep": "last"})
    pretrain(settings_from(config), tmp_path / "one")
    codes, errors = spread(config, tmp_path / "two")
    assert codes == [0, 0], errors
    assert_same(weights(tmp_path / "two"), weights(tmp_path / "one"), rtol=0, atol=1e-6)
    reports = [json.loads((tmp_path / n / "report.json").read_text()) for n in ("one", "two")]
    assert reports[0]["pieces"] == reports[1]["pieces"]
    assert reports[1]["after"]["heldout"] == pytest.approx(reports[0]["after"]["heldout"], abs=1e-4)


def test_a_run_goes_on_with_another_number_of_processes(tmp_path, run_config):
    config = run_config(training={"keep": "last"})
    pretrain(settings_from(config), tmp_path / "whole")
    process = start(config, tmp_path / "moved")
    checkpoints = tmp_path / "moved" / "checkpoints"
    while process.poll() is None and not list(checkpoints.glob("step-*8")):
        time.sleep(0.01)
    process.kill()
    process.communicate()
    (tmp_path / "moved" / "report.json").unlink(missing_ok=True)
    for late in sorted(checkpoints.glob("step-*"))[1:]:
        (late / "state.json").unlink()
    codes, errors = spread(config, tmp_path / "moved")
    assert codes == [0, 0], errors
    assert_same(weights(tmp_path / "moved"), weights(tmp_path / "whole"), rtol=0, atol=1e-6)


LAUNCHERS = {
    "torchrun": ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"],
    # On CPUs it starts one process, unless MPI is there: several are torchrun's business.
    "accelerate launch": ["accelerate.commands.launch", "--cpu", "--num_processes", "1"],
}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_launchers_start_the_module_as_the_readme_says(tmp_path, run_config, launcher):
    from confection import Config

    config = run_config(training={"max_steps": 2, "head_steps": 2, "keep": "last"})
    Config(config).to_disk(tmp_path / "mlm.cfg")
    arguments = [str(tmp_path / "mlm.cfg"), "--output", str(tmp_path / "run"), "--quiet"]
    command = [sys.executable, "-m", *LAUNCHERS[launcher], "-m", "spacy_reprtune.pretraining"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [*command, *arguments], env=env, capture_output=True, text=True, check=False, timeout=200
    )
    assert result.returncode == 0, result.stderr
    # One process prints, however many there are.
    assert result.stdout.count("held-out loss") == 1
    pretrain(settings_from(config), tmp_path / "one")
    assert_same(weights(tmp_path / "run"), weights(tmp_path / "one"), rtol=0, atol=1e-6)


def test_processes_wait_long_enough_for_the_text_to_be_tokenized(monkeypatch):
    from spacy_reprtune.pretraining import processes

    asked = {}
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: False)
    monkeypatch.setattr(
        torch.distributed, "init_process_group", lambda name, **kwargs: asked.update(kwargs)
    )
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    assert processes.join("cpu").size == 2
    assert asked["timeout"].total_seconds() >= 3600 * 10


def test_batches_that_processes_can_not_share_are_refused(tmp_path, run_config):
    config = run_config(training={"step_pieces": 384})
    codes, errors = spread(config, tmp_path / "run")
    assert codes == [1, 1]
    assert all("3 batches" in e and "2 processes can't share evenly" in e for e in errors)


def test_pretraining_needs_no_spacy(tmp_path, run_config):
    config = json.dumps(run_config(training={"max_steps": 1, "head_steps": 1}))
    block = "import sys; sys.modules.update(dict.fromkeys(['spacy', 'thinc']))\n"
    command = [sys.executable, "-c", block + WORKER, config, str(tmp_path / "run")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "run" / "encoder" / "config.json").is_file()
