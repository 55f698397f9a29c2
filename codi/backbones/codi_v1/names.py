"""Our key -> the release's key, for every module of the UNets.

The release names blocks by their place in flat lists (`input_blocks.4.1`) and layers by their place in a Sequential
(`in_layers.2`); a `Rule` maps one of our prefixes to one of those, with the names below it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from codi.backbones.codi_v1.unet import Levels


@dataclass(frozen=True)
class Rule:
    """Keys below `ours` are called as below `theirs`, first parts renamed.

    Attributes:
        ours, theirs: prefixes, each with its dot where it ends a part.
        parts: what follows in our keys -> what follows in theirs; what is not named stays.
    """

    ours: str
    theirs: str
    parts: Mapping[str, str] = field(default_factory=dict)

    def official(self, key: str) -> str:
        """The release's name of a key below `ours`."""
        rest = key.removeprefix(self.ours)
        for part, name in self.parts.items():
            if rest == part or rest.startswith(f"{part}."):
                return self.theirs + name + rest.removeprefix(part)
        return self.theirs + rest


def official(key: str, rules: Sequence[Rule]) -> str:
    """The release's name of our key: by the longest prefix that fits."""
    return max((rule for rule in rules if key.startswith(rule.ours)), key=lambda rule: len(rule.ours)).official(key)


_OUTER = {"norm1": "in_layers.0", "norm2": "out_layers.0"}
BLOCK = _OUTER | {
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
VECTOR_BLOCK = _OUTER | {
    "linear1": "in_layers.2",
    "time": "emb_layers.1",
    "linear2": "out_layers.3",
    "shortcut": "skip_connection",
}
FRAMES = {
    "attention.positions": "temporal_attn.pos_embeds",
    "attention.rate": "temporal_attn.frame_rate_embeds",
    "attention.gain": "temporal_attn.norm.g",
    "attention": "temporal_attn",
    "distance.net.0": "temporal_rel_pos_bias.net.0.0",
    "distance.net.2": "temporal_rel_pos_bias.net.1.0",
    "distance.net.4": "temporal_rel_pos_bias.net.2",
    "feed_forward.enter": "ff.proj_in.0",
    "feed_forward.gain": "ff.proj_out.0.g",
    "feed_forward.leave": "ff.proj_out.1",
    "shift.norm": "frameshiftblock.out_layers.0",
    "shift.conv": "frameshiftblock.out_layers.2",
}


def flat(site: str) -> str:
    """`encoder_4` -> `input_blocks.4`, and so on."""
    kind, index = site.split("_")
    lists = {
        "encoder": "input_blocks",
        "middle": "middle_block",
        "decoder": "output_blocks",
        "environment": "connecters_out",
    }
    return f"{lists[kind]}.{index}."


def block_prefix(site: str, clips: bool) -> str:
    """Where a residual block stands; with temporal layers the two share a list. The middle is one list already."""
    inner = "" if site.startswith("middle") else "0."
    return flat(site) + inner + ("0." if clips else "")


def frames_prefix(site: str) -> str:
    """Where the temporal layer of a residual block stands."""
    return flat(site) + ("" if site.startswith("middle") else "0.") + "1."


def reader_prefix(site: str) -> str:
    """Where the reader after a rung stands."""
    kind, index = site.split("_")
    return f"{ {'encoder': 'input', 'decoder': 'output'}[kind] }_block_connecters_in.{index}.0."


def picture_rules(name: str, levels: Levels, clips: bool) -> list[Rule]:
    """A PictureUNet's keys; with `clips`, its residual blocks share lists with temporal layers."""
    theirs = f"unet_{name}."
    rules = [
        Rule("base.time_embedding.", f"{theirs}time_embed.", {"linear_1": "0", "linear_2": "2"}),
        Rule("base.conv_in.", f"{theirs}input_blocks.0.0."),
        Rule("base.conv_norm_out.", f"{theirs}out.0."),
        Rule("base.conv_out.", f"{theirs}out.2."),
        Rule("base.mid_block.resnets.0.", theirs + block_prefix("middle_0", clips), BLOCK),
        Rule("base.mid_block.attentions.0.", f"{theirs}middle_block.1."),
        Rule("base.mid_block.resnets.1.", theirs + block_prefix("middle_2", clips), BLOCK),
    ]
    return rules + [Rule(ours, theirs + rule, parts) for ours, rule, parts in _rungs(levels, clips)]


def _rungs(levels: Levels, clips: bool) -> Iterator[tuple[str, str, Mapping[str, str]]]:
    for site, level, block in levels.encoder():
        down = f"base.down_blocks.{level}."
        if block is None:
            yield f"{down}downsamplers.0.conv.", f"{flat(site)}0.op.", {}
        else:
            yield f"{down}resnets.{block}.", block_prefix(site, clips), BLOCK
            yield f"{down}attentions.{block}.", f"{flat(site)}1.", {}
    for site, level, block in levels.decoder():
        up = f"base.up_blocks.{len(levels.blocks) - 1 - level}."
        yield f"{up}resnets.{block}.", block_prefix(site, clips), BLOCK
        yield f"{up}attentions.{block}.", f"{flat(site)}1.", {}
        if levels.last(level, block):
            yield f"{up}upsamplers.0.conv.", f"{flat(site)}{1 + levels.attention[level]}.conv.", {}


def text_rules(name: str, levels: Levels) -> list[Rule]:
    """A TextUNet's keys below the release's `unet_<name>.`."""
    theirs = f"unet_{name}."
    rules = [
        Rule("embedding.", f"{theirs}time_embed.", {"linear_1": "0", "linear_2": "2"}),
        Rule("conv_in.", f"{theirs}input_blocks.0.0."),
        Rule("norm_out.", f"{theirs}out.0."),
        Rule("conv_out.", f"{theirs}out.2."),
        Rule("residuals.middle_0.", f"{theirs}middle_block.0.", VECTOR_BLOCK),
        Rule("prompted.middle_0.", f"{theirs}middle_block.1."),
        Rule("residuals.middle_2.", f"{theirs}middle_block.2.", VECTOR_BLOCK),
    ]
    for site, _, _ in levels.encoder():
        rules.append(Rule(f"residuals.{site}.", f"{theirs}{flat(site)}0.", VECTOR_BLOCK))
        rules.append(Rule(f"prompted.{site}.", f"{theirs}{flat(site)}1."))
        rules.append(Rule(f"resampled.{site}.", f"{theirs}{flat(site)}0."))
    for site, level, _ in levels.decoder():
        rules.append(Rule(f"residuals.{site}.", f"{theirs}{flat(site)}0.", VECTOR_BLOCK))
        rules.append(Rule(f"prompted.{site}.", f"{theirs}{flat(site)}1."))
        rules.append(Rule(f"resampled.{site}.", f"{theirs}{flat(site)}{1 + levels.attention[level]}."))
    return rules


def environment_rules(name: str, steps: Mapping[str, str], clips: bool, vector: bool) -> list[Rule]:
    """An environment encoder's keys; `steps`: by site, "block" or "down"."""
    theirs = f"unet_{name}."
    last = f"{theirs}connecters_out.{len(steps) + 1}."
    rules = [
        Rule("conv_in.", f"{theirs}connecters_out.0.0."),
        Rule("norm_out.", f"{last}0."),
        Rule("conv_out.", f"{last}2."),
    ]
    for site, kind in steps.items():
        if kind == "block":
            parts = VECTOR_BLOCK if vector else BLOCK
            rules.append(Rule(f"steps.{site}.", theirs + block_prefix(site, clips), parts))
        else:
            below = flat(site) + ("0." if vector else "0.op.")
            rules.append(Rule(f"steps.{site}." if vector else f"steps.{site}.conv.", theirs + below))
    return rules


def reader_rules(name: str, sites: Mapping[str, int]) -> list[Rule]:
    """The readers' keys."""
    return [Rule(f"readers.{site}.", f"unet_{name}.{reader_prefix(site)}") for site in sites]


def frame_rules(name: str, sites: Mapping[str, object]) -> list[Rule]:
    """The temporal layers' keys."""
    return [Rule(f"layers.{site}.", f"unet_{name}.{frames_prefix(site)}", FRAMES) for site in sites]
