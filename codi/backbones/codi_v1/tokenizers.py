"""The vocabularies of CLIP, BERT and GPT-2, which the published files do not hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import BertTokenizer, CLIPTokenizer, GPT2Tokenizer

from codi.backbones.codi_v1.release import TOKENIZERS
from codi.types import InputError

SPECIAL = ("<PAD>", "<BOS>", "<EOS>")
"""What Optimus adds to GPT-2's vocabulary, in this order: 50257, 50258, 50259."""

VOCABULARIES = {
    "clip_tokenizer": ("vocab.json", "merges.txt"),
    "bert_tokenizer": ("vocab.txt",),
    "gpt2_tokenizer": ("vocab.json", "merges.txt"),
}


def tokenizer_folder(source: Path, name: str) -> Path | None:
    """Where the vocabulary of a tokenizer lies beside the published files, or None."""
    folder = source / "tokenizers" / TOKENIZERS[name].split("/")[-1]
    return folder if all((folder / file).is_file() for file in VOCABULARIES[name]) else None


def load_tokenizer(name: str, folder: Path) -> Any:
    """A tokenizer from its vocabulary.

    Raises:
        InputError: a damaged vocabulary.
    """
    files = [str(folder / file) for file in VOCABULARIES[name]]
    try:
        if name == "clip_tokenizer":
            return CLIPTokenizer(vocab=files[0], merges=files[1])
        if name == "bert_tokenizer":
            return BertTokenizer(vocab=files[0], do_lower_case=False)
        tokenizer = GPT2Tokenizer(vocab=files[0], merges=files[1])
        tokenizer.add_tokens(list(SPECIAL), special_tokens=True)
    except Exception as error:
        # The tokenizers library raises bare Exception for a vocabulary that it cannot read.
        raise InputError(str(folder), "holds a damaged vocabulary", f"get it anew from {TOKENIZERS[name]}") from error
    return tokenizer
