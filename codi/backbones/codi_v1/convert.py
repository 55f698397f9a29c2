"""`codi convert codi-v1`: the published .pth files -> a bundle.

Component by component: the files are memory-mapped, so that what is in memory is near one component and never the sum.
"""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from codi.backbones.codi_v1.build import PARTS, recipes
from codi.backbones.codi_v1.modalities import modalities
from codi.backbones.codi_v1.modes import OFFICIAL, checked
from codi.backbones.codi_v1.names import official
from codi.backbones.codi_v1.official import Recipe, Report, State, left, load
from codi.backbones.codi_v1.release import BRINGS, CONFIG, FILES, PREFIXES, SCHEDULE, TOKENIZERS
from codi.backbones.codi_v1.scheduler import scheduler
from codi.backbones.codi_v1.tokenizers import load_tokenizer, tokenizer_folder
from codi.manifest import write_manifest
from codi.types import InputError

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
Say = Callable[[str], None]


@dataclass
class Summary:
    """What a conversion did.

    Attributes:
        components: that were written.
        lines: what a user should know: what is missing and which file brings it, unknown keys, identity blocks.
    """

    components: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


def convert(
    source: Path, target: Path, dtype: str | None = None, mode: str = OFFICIAL, say: Say = lambda _: None
) -> Summary:
    """Convert any of the four published files.

    Args:
        source: the folder that holds them, under their published names; a `config.json` beside them is taken instead
            of the release's configuration, and vocabularies below `tokenizers/`.
        target: the bundle's folder, which must not exist. It appears whole or not at all.
        dtype: of the weights in the bundle; as in the files where None.
        mode: `official` or `partner` (see `modes`); partner mode keeps what retraining the bridges needs.
        say: told of progress, a line each.

    Raises:
        InputError: no file, a damaged one, one that holds code, weights of another shape or not whole, or a place that
            cannot be written.
    """
    if dtype is not None and dtype not in DTYPES:
        raise InputError(f"--dtype {dtype}", "is not a number format", f"choose among {', '.join(DTYPES)}")
    converter = _Converter(Files(source), read_config(source), dtype, checked(mode))
    with fresh_folder(target) as stage:
        return converter.run(stage, source, say)


def read_config(source: Path) -> dict[str, Any]:
    """The configuration beside the files, or the release's.

    Raises:
        InputError: it is no JSON object.
    """
    path = source / "config.json"
    if not path.is_file():
        return CONFIG
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InputError(str(path), "is no configuration", "give a JSON object, or remove it to use the release's")
    return found


@contextmanager
def fresh_folder(target: Path) -> Iterator[Path]:
    """A folder beside the target that becomes it at the end; on failure nothing is left.

    Raises:
        InputError: the target exists or cannot be made.
    """
    if target.exists():
        raise InputError(str(target), "exists already", "name a new folder")
    stage = target.with_name(target.name + ".new")
    try:
        shutil.rmtree(stage, ignore_errors=True)
        stage.mkdir(parents=True)
        yield stage
        stage.rename(target)
    except OSError as error:
        raise InputError(
            str(target), f"cannot be written ({error.strerror or error})", "give another folder"
        ) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


class Files:
    """The published files that are there, one of them mapped at a time.

    Args:
        source: their folder.

    Raises:
        InputError: none is there, or one is damaged.
    """

    def __init__(self, source: Path) -> None:
        self.paths = [source / name for name in FILES if (source / name).is_file()]
        if not self.paths:
            raise InputError(str(source), "holds none of the published files", f"it should hold {', '.join(FILES)}")
        self._open: tuple[Path, State] | None = None
        self.holder: dict[str, Path] = {}
        self.twice: dict[str, list[str]] = {}
        self.odd: list[str] = []
        for path in self.paths:
            for name, value in self.read(path).items():
                if not isinstance(value, torch.Tensor):
                    self.odd.append(name)
                    continue
                if name in self.holder:
                    self.twice.setdefault(self.holder[name].name, []).append(name)
                self.holder[name] = path

    def read(self, path: Path) -> State:
        """A file's tensors, mapped."""
        if self._open is None or self._open[0] != path:
            self._open = None
            self._open = (path, read_pth(path))
        return self._open[1]

    def close(self) -> None:
        """Let go of the file that is mapped, and with it of the pages that were read."""
        self._open = None

    def part(self, part: str) -> State:
        """A part's tensors by the names that follow its prefix, each fetched when it is asked for."""
        return _Lazy(self, PREFIXES[part])


class _Lazy(Mapping[str, torch.Tensor]):
    """A state dict over the files."""

    def __init__(self, files: Files, prefix: str) -> None:
        self.files, self.prefix = files, prefix
        self.names = [name.removeprefix(prefix) for name in files.holder if name.startswith(prefix)]
        self._known = set(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self._known

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, name: str) -> torch.Tensor:
        if name not in self._known:
            raise KeyError(name)
        return self.files.read(self.files.holder[self.prefix + name])[self.prefix + name]


def read_pth(path: Path) -> dict[str, Any]:
    """A .pth file's dictionary, tensors alone, memory-mapped.

    Raises:
        InputError: truncated, of another format, or with anything in it but tensors.
    """
    if not zipfile.is_zipfile(path):
        raise InputError(str(path), "is truncated, or no file of torch.save", "download it again")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        remedy = "none of it was run; get the published file"
        raise InputError(str(path), "holds code or objects where only tensors belong", remedy) from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        raise InputError(str(path), "is damaged", "download it again") from error
    state = found.get("state_dict", found) if isinstance(found, dict) else found
    if not isinstance(state, dict):
        raise InputError(str(path), "holds no dictionary of tensors", "get the published file")
    return state


class _Converter:
    """One conversion."""

    def __init__(self, files: Files, config: dict[str, Any], dtype: str | None, mode: str) -> None:
        self.files, self.config, self.mode = files, config, mode
        self.dtype = None if dtype is None else DTYPES[dtype]
        self.index: dict[str, Any] = {}
        self.unknown: list[str] = list(files.odd)
        self.identity: list[str] = []

    def run(self, stage: Path, source: Path, say: Say) -> Summary:
        for part in PARTS:
            self._part(part, stage, say)
        known = (*PREFIXES.values(), *SCHEDULE)
        self.unknown += [name for name in self.files.holder if not name.startswith(known)]
        if not self.index:
            raise InputError(str(source), "holds no part of the release", "get the published files")
        lost = self._rest(stage, source)
        self._write_index(stage)
        write_manifest(stage)
        return Summary(sorted(self.index), [*self._missing(lost), *self._notes()])

    def _part(self, part: str, stage: Path, say: Say) -> None:
        state, taken, report = self.files.part(part), set[str](), Report()
        for name, recipe in recipes(part, self.config, state, mode=self.mode).items():
            if self._present(recipe, state):
                say(f"{name} ...")
                self.files.close()
                self._component(name, load_whole(name, recipe, state, report, taken, PREFIXES[part]), stage)
        left(state, taken, report)
        self.unknown += [PREFIXES[part] + name for name in report.unused]
        self.identity += [PREFIXES[part] + name for name in report.identity]

    def _present(self, recipe: Recipe, state: State) -> bool:
        """Whether any tensor of a component is there: it is then refused if it is not whole."""
        with torch.device("meta"):
            keys = recipe.build().state_dict()
        return any(official(key, recipe.rules) in state for key in keys if key not in recipe.own)

    def _component(self, name: str, module: nn.Module, stage: Path) -> None:
        kept = next(p for p in module.parameters()).dtype
        # The plain cast: the one of diffusers warns about precision that these classes do not ask for.
        nn.Module.to(module, self.dtype or kept).save_pretrained(stage / name, safe_serialization=True)  # type: ignore[operator]
        kind = type(module)
        self.index[name] = [kind.__module__.split(".")[0], kind.__name__]

    def _rest(self, stage: Path, source: Path) -> list[str]:
        """Schedulers and tokenizers; the tokenizers that are not there are returned."""
        for name in modalities():
            scheduler().save_pretrained(stage / f"{name}_scheduler")
            self.index[f"{name}_scheduler"] = ["codi", "CoDiScheduler"]
        lost = []
        for name in TOKENIZERS:
            folder = tokenizer_folder(source, name)
            if folder is None:
                lost.append(name)
                continue
            tokenizer = load_tokenizer(name, folder)
            tokenizer.save_pretrained(stage / name)
            self.index[name] = ["transformers", type(tokenizer).__name__]
        return lost

    def _write_index(self, stage: Path) -> None:
        import diffusers

        every = {name for modality in modalities().values() for name in modality.components}
        index = {name: self.index.get(name, [None, None]) for name in sorted(every)}
        head = {"_class_name": "CoDiV1Pipeline", "_diffusers_version": diffusers.__version__}
        (stage / "model_index.json").write_text(json.dumps(head | index, indent=2) + "\n")

    def _missing(self, lost: list[str]) -> Iterator[str]:
        for file in FILES:
            absent = [name for name in BRINGS[file] if name not in self.index]
            if absent:
                yield f"missing: {', '.join(absent)}; {file} brings them"
        for name in lost:
            yield (
                f"missing: {name}; put the vocabulary of {TOKENIZERS[name]} into "
                f"tokenizers/{TOKENIZERS[name].split('/')[-1]}/ beside the files"
            )

    def _notes(self) -> Iterator[str]:
        if self.identity:
            sites = sorted({name.rsplit(".out_layers", 1)[0] for name in self.identity})
            yield f"not in the files and made the identity: {', '.join(sites)}"
        for file, names in self.files.twice.items():
            count = sum(not name.startswith(SCHEDULE) for name in names)
            if not count:
                continue
            yield f"{count} keys of {file} stand in a later file too, which counts, as in the release"
        groups: dict[str, list[str]] = {}
        for name in self.unknown:
            groups.setdefault(group_of(str(name)), []).append(str(name))
        for group, names in sorted(groups.items()):
            more = ", ..." if len(names) > 3 else ""
            yield f"unknown and left out: {group}, {len(names)} keys: {', '.join(sorted(names)[:3])}{more}"


def group_of(name: str) -> str:
    """What an unknown key is counted under: its first part, its first two where there are more."""
    parts = name.split(".")
    return ".".join(parts[: 1 if len(parts) <= 2 else 2])


def load_whole(name: str, recipe: Recipe, state: State, report: Report, taken: set[str], prefix: str) -> nn.Module:
    """A component of which every tensor is there.

    Raises:
        InputError: some are not, or one has another shape.
    """
    before = len(report.missing)
    try:
        module = load(recipe, state, report, taken)
    except InputError as error:
        raise InputError(prefix + error.name, error.problem, error.remedy) from error
    absent = report.missing[before:]
    if absent:
        raise InputError(
            f"{name}", f"lacks {len(absent)} tensors, first {prefix}{absent[0]}", "get the published file anew"
        )
    return module
