"""What a backbone does where a call names nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from codi.guidance import Guidance


@dataclass(frozen=True)
class Company:
    """Whom an output is made beside.

    Attributes:
        others: all of them, made or given.
        given: of these, what is given.
        prompting: of these, those that prompt it.
        asked: inputs that prompt it too.
    """

    others: Collection[str] = ()
    given: Collection[str] = ()
    prompting: Collection[str] = ()
    asked: Collection[str] = ()

    @property
    def made(self) -> set[str]:
        """Of these, what is made."""
        return {*self.others}.difference(self.given)

    def alone_with(self, given: str) -> bool:
        """Whether nothing but that is there, and it prompts, and nothing else does."""
        return {*self.others} == {*self.given} == {*self.prompting} == {given} and not self.asked


ALONE: Final = Company()


@dataclass(frozen=True)
class Rule:
    """A number for an output that reads others, and in what company it holds.

    Attributes:
        value: the number.
        among: who all is there.
        prompted: who all prompt it.
        without: none of whom is there.
    """

    value: float
    among: tuple[str, ...] = ()
    prompted: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    def holds(self, company: Company) -> bool:
        """Whether it is so in that company; never where nobody is."""
        others = {*company.others}
        there = {*self.among} <= others and {*self.prompted} <= {*company.prompting}
        return bool(others) and there and not {*self.without} & others

    def __str__(self) -> str:
        told = {"with": " and ".join(self.among), "prompted by": " and ".join(self.prompted)}
        told["without"] = " or ".join(self.without)
        words = [f"{how} {who}" for how, who in told.items() if who]
        return " ".join([f"{self.value:g}", *(words or ["with others"])])


@dataclass(frozen=True)
class Following:
    """Scales of an output that reads a given, and no other output.

    Attributes:
        prompt: `Guidance.prompt`.
        renewal: `Guidance.renewal`, where nothing else is there and nothing else prompts; None for what it is else.
    """

    prompt: float
    renewal: float | None = None


def _first(rules: Iterable[Rule], company: Company, default: float) -> float:
    """The value of the first rule that holds."""
    return next((rule.value for rule in rules if rule.holds(company)), default)


@dataclass(frozen=True)
class Defaults:
    """Steps and scales of a call that names none.

    Attributes:
        steps: of all outputs.
        guidance: of an output, but for what follows.
        beside: by modality, `Guidance.prompt` of an output that bridges join to other outputs; the first that holds
            counts.
        following: by modality and given, the scales of one that reads such a given, and no other output.
        bridge: by modality, `Guidance.bridge` of one that is made beside other outputs.
        interval: `Guidance.interval` of such an output.
        renewal: by modality, `Guidance.renewal`.
        prompting: by modality, `Guidance.prompting`.
        spans: by modality, `Guidance.start` and `Guidance.end`.
        ends: by modality, where that span ends earlier; the first that holds counts.
        companions: by modality, what is made along with it, and not returned, where bridges join it to other outputs.
    """

    steps: int
    guidance: Guidance
    beside: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)
    following: Mapping[str, Mapping[str, Following]] = field(default_factory=dict)
    bridge: Mapping[str, float] = field(default_factory=dict)
    interval: int = 1
    renewal: Mapping[str, float] = field(default_factory=dict)
    prompting: Mapping[str, float] = field(default_factory=dict)
    spans: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    ends: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)
    companions: Mapping[str, str] = field(default_factory=dict)

    def of(self, output: str, joined: bool, company: Company = ALONE) -> Guidance:
        """The scales of one output; `joined`: whether bridges join it to other outputs."""
        start, end = self.spans.get(output, (self.guidance.start, self.guidance.end))
        bridge = self.bridge.get(output, self.guidance.bridge) if company.made else self.guidance.bridge
        return dataclasses.replace(
            self.guidance,
            start=start,
            end=min(end, _first(self.ends.get(output, ()), company, end)),
            prompt=self._prompt(output, joined, company),
            bridge=bridge,
            interval=self.interval if joined else self.guidance.interval,
            renewal=self._renewal(output, company),
            prompting=self.prompting.get(output, self.guidance.prompting),
        )

    def _prompt(self, output: str, joined: bool, company: Company) -> float:
        if joined:
            return _first(self.beside.get(output, ()), company, self.guidance.prompt)
        scales = [one.prompt for name, one in self.following.get(output, {}).items() if name in company.given]
        return min(scales, default=self.guidance.prompt)

    def _renewal(self, output: str, company: Company) -> float:
        own = self.renewal.get(output, self.guidance.renewal)
        followed = [one.renewal for name, one in self.following.get(output, {}).items() if company.alone_with(name)]
        return next((level for level in followed if level is not None), own)

    def tells(self, output: str, level: float | None = None) -> bool:
        """Whether an output prompts those that read it, at the level that is asked for or its own."""
        return (self.of(output, joined=True).prompting if level is None else level) > 0

    def along(self, outputs: Collection[str], given: Collection[str]) -> tuple[str, ...]:
        """The companions of outputs that bridges join; what is made or given anyway is none."""
        named = [self.companions[name] for name in outputs if name in self.companions and len(outputs) > 1]
        return tuple(name for name in dict.fromkeys(named) if name not in outputs and name not in given)


CODI_MINI: Final = Defaults(
    steps=20,
    guidance=Guidance(bridge=3.0),
    beside={
        "text": (Rule(1.25),),
        "video": (Rule(2.25, prompted=("text",), without=("audio",)), Rule(1.5)),
        "audio": (Rule(1.5, among=("video",), without=("text",)), Rule(1.0)),
    },
    following={"video": {"audio": Following(1.75, renewal=0.8)}},
    bridge={"text": 1.0},
    interval=2,
    renewal={"audio": 0.7},
    prompting={"text": 0.55},
    spans={"video": (0.25, 0.85), "text": (0.0, 0.5)},
    ends={
        "audio": (Rule(0.55, without=("video",)),),
        "image": (Rule(0.55, prompted=("text",), without=("audio", "video")), Rule(0.75, prompted=("text",))),
        "video": (Rule(0.55, prompted=("text",), without=("audio",)), Rule(0.75, prompted=("text",))),
    },
    companions={"image": "text"},
)
"""codi-mini's figures are measured at these (why: docs/choices.md). What other outputs tell moves clips and sounds as
the prompt does: beside three times the prompt's own push they keep to themselves, but for a clip whose words are
settled and that hears no sound. A sound needs none where words are made along, with a clip alone some. A clip that
has nothing but a given sound begins from noise that knows nothing of it: new noise, as long as it matters, lets the
sound decide. A text that is pushed says the same in most samples, and all follow it. In the last steps what others tell
pushes a settled clip off what the world looks like. A sound settles early, a text at once (its sampler), and prompts
the others from the fourth step on; after half of the steps a text hardly changes, nor does a sound beside texts and
pictures, nor, where a text prompts it, a picture after three quarters, or a clip beside a sound; without one it is left
alone sooner. A picture and others meet best in a text that nobody asked for. What the prompt changes differs little
from one step to the next."""
