"""Text files: UTF-8 captions, with the recipe in a .json beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from codi.media import check_file, is_text, kind_of, replacing, unreadable
from codi.types import InputError

SUFFIX = ".txt"
SUFFIXES = (".txt", ".md")
FORMATS = "a UTF-8 text file"
MAX_BYTES = 64 * 1024


def sniff(path: Path) -> bool:
    """Whether the content is text: it decodes as UTF-8 and holds no NUL."""
    return is_text(path)


def parse(value: str, name: str = "text") -> str:
    """Text as typed: surrounding and repeated white space removed.

    Raises:
        InputError: nothing is left, it is longer than 64 KiB, or holds a NUL.
    """
    text = " ".join(value.split())
    if not text:
        raise InputError(name, "is empty", "give a caption")
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise InputError(name, "is longer than 64 KiB", "give a caption")
    if any(ord(char) < 32 or 0xD800 <= ord(char) < 0xE000 for char in text):
        raise InputError(name, "holds characters that are not text", "give a caption in UTF-8")
    return text


def check(media: Any, name: str) -> str:
    """A text as Python gives it.

    Raises:
        InputError: it is no string.
    """
    if isinstance(media, str):
        return media
    raise InputError(name, f"is {kind_of(media)}", "give a string")


def read(path: Path) -> str:
    """Read a caption.

    Raises:
        InputError: missing, empty, larger than 64 KiB or not UTF-8 text.
    """
    check_file(path, FORMATS)
    if not is_text(path):
        raise unreadable(path, FORMATS)
    if path.stat().st_size > MAX_BYTES:
        raise InputError(str(path), "is longer than 64 KiB", "give a caption")
    try:
        return parse(path.read_text("utf-8-sig"), str(path))
    except UnicodeDecodeError as error:
        raise unreadable(path, FORMATS) from error


def write(media: str, path: Path, recipe: str | None) -> None:
    """Write a caption and, where there is a recipe, `<name>.json` beside it.

    Raises:
        InputError: the file cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_text(f"{media}\n", "utf-8")
    if recipe is not None:
        with replacing(path.with_suffix(".json")) as temporary:
            temporary.write_text(f"{recipe}\n", "utf-8")


def forget(path: Path) -> None:
    """Remove the recipe beside a caption; JSON that is none of codi's stays."""
    try:
        recipe = json.loads(read_recipe(path) or "")
    except ValueError:
        return
    if isinstance(recipe, dict) and "parameters" in recipe:
        path.with_suffix(".json").unlink()


def read_recipe(path: Path) -> str | None:
    """The recipe beside a caption, or None."""
    beside = path.with_suffix(".json")
    return beside.read_text("utf-8").strip() if beside.is_file() and is_text(beside) else None
