import logging
import os
import shutil
from io import FileIO

import pytest
import torch
from conftest import save_encoder
from transformers import AutoModel

from spacy_reprtune.encoder.cache import PrefixCache, prefix_digests, shared_cache

KEYS = [bytes([i]) * 16 for i in range(6)]


def rows(i, n=4, width=8):
    return torch.full((n, width), float(i), dtype=torch.float16)


def fill(cache, space="a", keys=KEYS):
    for i, key in enumerate(keys):
        cache.put(space, [key], [rows(i)])


def found(cache, space="a", keys=KEYS):
    return [None if r is None else float(r[0, 0]) for r in cache.get(space, keys, torch.float16)]


def test_what_was_put_in_comes_out_and_is_counted():
    cache = PrefixCache(10_000)
    assert found(cache) == [None] * 6 and not cache.knows("a")
    fill(cache)
    assert found(cache) == [0, 1, 2, 3, 4, 5] and cache.knows("a")
    assert found(cache, "b") == [None] * 6
    stats = cache.stats
    assert (stats.entries, stats.memory_bytes, stats.disk_bytes) == (6, 6 * 64, 0)
    assert (stats.hits, stats.misses) == (6, 12) and stats.hit_rate == pytest.approx(1 / 3)


def test_the_least_recently_used_leaves_first(caplog):
    cache = PrefixCache(3 * 64)
    with caplog.at_level(logging.INFO, "spacy"):
        fill(cache, keys=KEYS[:3])
        assert not caplog.records
        assert found(cache, keys=KEYS[:1]) == [0]
        cache.put("a", KEYS[3:4], [rows(3)])
        cache.put("a", KEYS[4:5], [rows(4)])
    assert found(cache) == [0, None, None, 3, 4, None]
    assert cache.stats.memory_bytes == 3 * 64
    assert len(caplog.records) == 1 and "cache_dir" in caplog.text


def test_an_entry_that_is_put_in_twice_counts_once():
    cache = PrefixCache(10_000)
    fill(cache)
    fill(cache)
    assert cache.stats.memory_bytes == 6 * 64


def test_what_does_not_fit_is_read_back_from_the_directory(tmp_path):
    cache = PrefixCache(2 * 64, tmp_path / "spill")
    fill(cache)
    assert cache.stats.memory_bytes == 2 * 64 and cache.stats.disk_bytes == 4 * 64
    for _ in range(2):
        assert found(cache) == [0, 1, 2, 3, 4, 5]
    # What came back from the disk and left again is not written twice.
    assert cache.stats.disk_bytes == 6 * 64
    files = sorted(path.suffix for path in (tmp_path / "spill").iterdir())
    assert files == [".index", ".rows"]


def test_a_later_process_finds_what_an_earlier_one_left(tmp_path):
    space, other = "0a-2-fp32-poolings.Mean", "0a-2-fp32-poolings.Max"
    fill(PrefixCache(0, tmp_path), space)
    later = PrefixCache(0, tmp_path)
    assert later.knows(space) and not later.knows(other)
    assert found(later, space) == [0, 1, 2, 3, 4, 5]
    assert found(later, other) == [None] * 6
    fill(later, other)
    assert found(PrefixCache(0, tmp_path), other) == [0, 1, 2, 3, 4, 5]


def test_files_that_were_cut_off_lose_only_what_is_not_there(tmp_path):
    fill(PrefixCache(0, tmp_path))
    (data,) = tmp_path.glob("*.rows")
    (index,) = tmp_path.glob("*.index")
    os.truncate(data, data.stat().st_size - 10)
    assert found(PrefixCache(0, tmp_path)) == [0, 1, 2, 3, 4, None]
    os.truncate(index, index.stat().st_size // 2 + 5)
    assert found(PrefixCache(0, tmp_path)) == [0, 1, 2, None, None, None]
    data.unlink()
    assert found(PrefixCache(0, tmp_path)) == [None] * 6


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_full_disk_is_said_once_and_what_is_there_stays(tmp_path, caplog):
    cache = PrefixCache(64, tmp_path)
    fill(cache, keys=KEYS[:2])
    writer = cache.spill._writers["a"]
    writer._data.close()
    writer._data = FileIO("/dev/full", "w")
    fill(cache, keys=KEYS[2:])
    assert found(cache, keys=KEYS[:1]) == [0]
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert "goes on" in caplog.text and str(tmp_path) in caplog.text
    cache.spill._writers.clear()


def test_a_directory_that_disappears_or_cannot_be_made_is_said_once(tmp_path, caplog):
    gone = tmp_path / "gone"
    cache = PrefixCache(64, gone)
    fill(cache, keys=KEYS[:2])
    shutil.rmtree(gone)
    assert found(cache, keys=KEYS[:1]) == [None]
    assert len(caplog.records) == 1
    fill(cache)
    caplog.clear()
    (tmp_path / "file").write_text("in the way")
    cache = PrefixCache(64, tmp_path / "file" / "spill")
    fill(cache)
    assert found(cache) == [None] * 5 + [5]
    assert len(caplog.records) == 1


def test_encoders_with_the_same_settings_share_a_cache(tmp_path):
    one = shared_cache(5, None)
    assert shared_cache(5, None) is one
    assert shared_cache(6, None) is not one
    spilling = shared_cache(5, str(tmp_path))
    assert spilling is not one and shared_cache(5, str(tmp_path)) is spilling
    fill(one)
    del one
    assert shared_cache(5, None).stats.entries == 0


def test_equal_encoders_have_equal_digests_wherever_they_are(tmp_path):
    path = save_encoder(tmp_path / "here")
    digests = prefix_digests(AutoModel.from_pretrained(str(path)))
    shutil.copytree(path, tmp_path / "there")
    assert prefix_digests(AutoModel.from_pretrained(str(tmp_path / "there"))) == digests


def test_digests_tell_apart_weights_below_the_cut_only(tmp_path):
    model = AutoModel.from_pretrained(str(save_encoder(tmp_path, num_hidden_layers=3)))
    digests = prefix_digests(model)
    assert len(set(digests)) == 4 and prefix_digests(model) == digests
    with torch.no_grad():
        model.encoder.layer[1].output.dense.weight[0, 0] += 1e-3
    changed = prefix_digests(model)
    assert changed[:2] == digests[:2] and not {*changed[2:]} & {*digests}
    with torch.no_grad():
        model.embeddings.word_embeddings.weight[7, 0] += 1e-3
    assert not {*prefix_digests(model)} & {*digests, *changed}
