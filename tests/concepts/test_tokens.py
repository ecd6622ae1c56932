from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expertjax.checkpoints.tokenizer import load_tokenizer
from expertjax.concepts.files import Concept
from expertjax.concepts.pool import ConceptSet, build_concept_set
from expertjax.concepts.tokens import tokenize
from expertjax.errors import InputError
from tests.tiny_models import SENTENCES, byte_level_bpe, word_piece


@pytest.fixture(scope="module")
def bpe() -> Any:
    return byte_level_bpe(300)


@pytest.fixture(scope="module")
def pieces() -> Any:
    return word_piece(120)


def pool(positives: list[str], negatives: list[str]) -> ConceptSet:
    one = Concept("sense", "crow", tuple(positives), tuple(negatives))
    return build_concept_set([one])


TWO_SIDES = pool([*SENTENCES[:3], "The ball."], [*SENTENCES[3:], "A river."])


def lengths_of(tokenizer: Any, concepts: ConceptSet) -> dict[str, int]:
    return {text: len(tokenizer(text).input_ids) for text in concepts.sentences}


def test_sentences_stand_by_ascending_length_with_their_own_tokens(bpe: Any):
    tokenized = tokenize(TWO_SIDES, bpe, seq_len=100)
    assert sorted(tokenized.concepts.sentences) == sorted(TWO_SIDES.sentences)
    assert (np.diff(tokenized.lengths) >= 0).all()
    assert tokenized.lengths[0] < tokenized.lengths[-1]
    for text, ids in zip(tokenized.concepts.sentences, tokenized.tokens, strict=True):
        assert ids.tolist() == bpe(text).input_ids
    assert (tokenized.dropped, tokenized.num_truncated) == ((), 0)


def test_memberships_follow_the_new_order(bpe: Any):
    concepts = tokenize(TWO_SIDES, bpe, seq_len=100).concepts
    member = concepts.members[0]
    texts = {concepts.sentences[row] for row in member.sentence[member.label == 1]}
    assert texts == {*SENTENCES[:3], "The ball."}


def test_longer_sentences_are_dropped_and_counted(bpe: Any):
    lengths = lengths_of(bpe, TWO_SIDES)
    seq_len = sorted(lengths.values())[4]
    tokenized = tokenize(TWO_SIDES, bpe, seq_len=seq_len)
    fitting = {text for text, length in lengths.items() if length <= seq_len}
    assert set(tokenized.concepts.sentences) == fitting
    assert set(tokenized.dropped) == set(lengths) - fitting != set()
    assert tokenized.num_truncated == 0
    assert tokenized.lengths.max() == seq_len


def test_longer_sentences_are_truncated_and_counted(bpe: Any):
    lengths = lengths_of(bpe, TWO_SIDES)
    seq_len = sorted(lengths.values())[4]
    tokenized = tokenize(TWO_SIDES, bpe, seq_len=seq_len, long="truncate")
    assert len(tokenized.tokens) == len(lengths)
    assert tokenized.dropped == ()
    assert tokenized.num_truncated == sum(n > seq_len for n in lengths.values()) > 0
    for text, ids in zip(tokenized.concepts.sentences, tokenized.tokens, strict=True):
        assert ids.tolist() == bpe(text).input_ids[:seq_len]
    assert (np.diff(tokenized.lengths) >= 0).all()


def test_a_concept_that_loses_a_side_to_seq_len_is_named(bpe: Any):
    concepts = pool([SENTENCES[0]], ["The ball."])
    with pytest.raises(InputError, match=r"--seq_len.*\n.*sense/crow has no positive"):
        tokenize(concepts, bpe, seq_len=8)


def test_a_seq_len_below_every_sentence_is_refused(bpe: Any):
    with pytest.raises(InputError, match="--seq_len=1: every sentence is longer"):
        tokenize(TWO_SIDES, bpe, seq_len=1)


def test_special_tokens_can_be_left_out_of_pooling(pieces: Any):
    included = tokenize(TWO_SIDES, pieces, seq_len=100)
    excluded = tokenize(TWO_SIDES, pieces, seq_len=100, special_tokens="exclude")
    special = {pieces.cls_token_id, pieces.sep_token_id}
    for ids, pooled in zip(included.tokens, included.pooled, strict=True):
        assert pooled.all()
        assert special <= set(ids.tolist())
    for ids, pooled in zip(excluded.tokens, excluded.pooled, strict=True):
        assert (pooled == ~np.isin(ids, list(special))).all()
        assert pooled.sum() == len(ids) - 2


def test_truncation_may_cut_special_tokens_but_leaves_the_rest_to_pooling(pieces: Any):
    tokenized = tokenize(
        TWO_SIDES, pieces, seq_len=6, long="truncate", special_tokens="exclude"
    )
    for ids, pooled in zip(tokenized.tokens, tokenized.pooled, strict=True):
        assert len(ids) == len(pooled) <= 6
        is_special = np.isin(ids, [pieces.cls_token_id, pieces.sep_token_id])
        assert (pooled == ~is_special).all()


def test_a_sentence_without_a_token_to_pool_is_named(pieces: Any):
    # The normalizer of BERT takes control characters away.
    concepts = pool([SENTENCES[0], "\u0085\u200b"], [SENTENCES[1]])
    with pytest.raises(InputError, match=r"\\x85\\u200b.*no token to pool"):
        tokenize(concepts, pieces, seq_len=100, special_tokens="exclude")


def test_a_folder_with_settings_of_its_own_does_not_cut_or_pad(tmp_path: Path):
    bpe = byte_level_bpe(300)
    plain = tokenize(TWO_SIDES, bpe, seq_len=100)
    bpe.backend_tokenizer.enable_truncation(max_length=4)
    bpe.backend_tokenizer.enable_padding(length=64, pad_id=3, pad_token="$")
    bpe.save_pretrained(tmp_path)
    cutting = load_tokenizer(tmp_path, {})
    cut = cutting.backend_tokenizer.encode(SENTENCES[0])
    assert (len(cut.ids), sum(cut.attention_mask)) == (64, 4)  # it would
    assert tokenize(TWO_SIDES, cutting, seq_len=100).digest() == plain.digest()


def test_the_digest_changes_with_anything_that_changes_a_token(bpe: Any, pieces: Any):
    lengths = sorted(lengths_of(bpe, TWO_SIDES).values())
    other = pool([*SENTENCES[:3], "The balls."], [*SENTENCES[3:], "A river."])
    digests = [
        tokenize(TWO_SIDES, bpe, seq_len=100).digest(),
        tokenize(TWO_SIDES, bpe, seq_len=lengths[4]).digest(),
        tokenize(TWO_SIDES, bpe, seq_len=lengths[4], long="truncate").digest(),
        tokenize(other, bpe, seq_len=100).digest(),
        tokenize(TWO_SIDES, byte_level_bpe(280), seq_len=100).digest(),
        tokenize(TWO_SIDES, pieces, seq_len=100).digest(),
        tokenize(TWO_SIDES, pieces, seq_len=100, special_tokens="exclude").digest(),
    ]
    assert len(set(digests)) == len(digests)
    # Nothing that cannot change a response counts.
    assert tokenize(TWO_SIDES, bpe, seq_len=99).digest() == digests[0]


def test_padding_is_the_pad_token_or_the_end_token_or_the_first(bpe: Any, pieces: Any):
    assert tokenize(TWO_SIDES, pieces, seq_len=100).pad_id == pieces.pad_token_id
    assert tokenize(TWO_SIDES, bpe, seq_len=100).pad_id == bpe.eos_token_id
    bare = byte_level_bpe(300)
    bare.eos_token = None
    assert tokenize(TWO_SIDES, bare, seq_len=100).pad_id == 0
