"""What a modality is, and the registry: every folder of `codi/modalities` that declares one."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from codi.types import InputError

if TYPE_CHECKING:
    import torch

    from codi.types import ClipSpec, Denoised, Part, Tokens


@dataclass(frozen=True)
class Modality:
    """A modality as its folder declares it, without importing torch.

    Attributes:
        name: its name, also the folder's.
        classes: component classes that codi itself defines for it, by name: the module each stands in.
        prompts, stands, generates: components of a bundle that it needs as an input (or as an output that prompts
            others), as a given and as an output. Components may be shared: video names the image autoencoder.
        joins: components that an output needs beside those where anything else stands on the timeline.
        engine: imports torch and returns the class that runs the modality.
        instant: whether a given may stand at an instant of the clip.
    """

    name: str
    classes: Mapping[str, str]
    prompts: tuple[str, ...]
    stands: tuple[str, ...]
    generates: tuple[str, ...]
    engine: Callable[[], type[Engine]]
    joins: tuple[str, ...] = ()
    instant: bool = False

    @property
    def components(self) -> tuple[str, ...]:
        """Every component that it may need, each once."""
        return tuple(dict.fromkeys(self.prompts + self.stands + self.generates + self.joins))


class Denoiser(Protocol):
    """Runs a denoiser once."""

    def __call__(
        self,
        latent: torch.Tensor,
        level: torch.Tensor,
        prompt: Tokens,
        clock: torch.Tensor,
        partners: Tokens | None = None,
    ) -> Denoised:
        """The prediction and the features at `level` [batch]; `partners` None is the bridge-off pass.

        A batch may hold several passes of the same samples. What a row gives depends on that row alone, and tokens of
        the prompt whose bias is -inf, which fill up shorter prompts, are not attended to.
        """
        ...


class Environment(Protocol):
    """An environment encoder.

    Attributes:
        reads_latent: whether it reads the noisy latent, and no features of the denoiser's bridge-off pass.
    """

    reads_latent: bool

    def __call__(self, seen: Any, level: torch.Tensor) -> torch.Tensor:
        """The latent or the features, at levels [batch] -> tokens [batch, tokens, width]."""
        ...


class Engine(Protocol):
    """The tensor side of a modality over the components of one bundle.

    Attributes:
        denoiser: runs the denoiser with its bridge.
        environment: the environment encoder; None where the bundle has none.
    """

    @property
    def denoiser(self) -> Denoiser:
        """See the class."""
        ...

    @property
    def environment(self) -> Environment | None:
        """See the class."""
        ...

    def __init__(self, parts: Mapping[str, Any]) -> None:
        """Take what it needs from `parts`, components by name; those that are not loaded are None."""
        ...

    def prompt(self, media: Sequence[Any]) -> torch.Tensor:
        """A batch of media -> tokens of the shared space, [batch, K, width].

        Raises:
            InputError: a medium that this modality cannot read.
        """
        ...

    def encode(self, media: Any, clip: ClipSpec) -> torch.Tensor:
        """A given -> its latent [1, ...], fitted to the clip.

        Raises:
            InputError: the medium cannot be fitted.
        """
        ...

    def decode(self, latent: torch.Tensor, clip: ClipSpec) -> list[Any]:
        """Latents [batch, ...] -> media."""
        ...

    def held(self, part: Part, clip: ClipSpec) -> torch.Tensor:
        """1 where a cell of the latent lies wholly in what stands of a medium, else 0; broadcasts to the latent.

        Raises:
            InputError: a medium of this modality cannot stand in part, or not so.
        """
        ...

    def mend(self, made: Any, part: Part, clip: ClipSpec) -> Any:
        """What was made, with what stands put back as it was given."""
        ...

    def shown(self, part: Part) -> Any:
        """What stands of a medium, as a medium that prompts the rest; None where that says too little to prompt."""
        ...

    def pinned(self, name: str, media: Any, seconds: float, clip: ClipSpec) -> Part | None:
        """What a given of modality `name` that stands at an instant is of a medium of this one; None for nothing.

        A picture is a frame of a clip.
        """
        ...

    def latent_shape(self, clip: ClipSpec) -> tuple[int, ...]:
        """Shape of the latent of one clip.

        Raises:
            InputError: the modality cannot make such a clip.
        """
        ...

    def clock(self, clip: ClipSpec, at: float | None = None) -> torch.Tensor:
        """Times of the latent's columns or frames, middles, seconds in float64; NaN where it has no time."""
        ...

    def token_times(self, clock: torch.Tensor) -> torch.Tensor:
        """Times of the environment tokens."""
        ...


class Unpinned:
    """Of an engine of whose media nothing of another modality is a part."""

    def pinned(self, name: str, media: Any, seconds: float, clip: ClipSpec) -> Part | None:
        """See Engine."""
        return None


class Whole(Unpinned):
    """Of an engine whose media stand as a whole or not at all."""

    def held(self, part: Part, clip: ClipSpec) -> torch.Tensor:
        """See Engine."""
        raise InputError(f"given {str(part.media)[:40]!r}", "cannot stand in part", "give it whole, or leave it out")

    def mend(self, made: Any, part: Part, clip: ClipSpec) -> Any:
        """See Engine."""
        raise NotImplementedError

    def shown(self, part: Part) -> Any:
        """See Engine."""
        return None


@cache
def registry() -> Mapping[str, Modality]:
    """The modalities by name, in the order of their names."""
    import codi.modalities

    names = sorted(found.name for found in pkgutil.iter_modules(codi.modalities.__path__) if found.ispkg)
    modules = (importlib.import_module(f"codi.modalities.{name}") for name in names)
    return {module.MODALITY.name: module.MODALITY for module in modules if hasattr(module, "MODALITY")}
