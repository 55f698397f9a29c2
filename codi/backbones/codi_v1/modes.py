"""The two ways to run these weights; a bundle names its own in the configuration of every UNet and of its readers.

official : the release as it runs. A reader sees its OWN output's environment token, so that an output is bit for bit
the same whichever partners it is generated with; and the UNets' last skip is overwritten by the middle
(`Trunk.forward`). For reproducing what the released code makes.
partner  : what the paper describes (CoDi, Tang et al. 2023, section 3.3). A reader sees the other outputs' tokens, and
the skip is what the encoder left. The released readers have never seen another's token: retrain them
(`codi train bridge`).
"""

from __future__ import annotations

from codi.types import InputError

OFFICIAL, PARTNER = "official", "partner"
MODES = (OFFICIAL, PARTNER)


def checked(mode: str) -> str:
    """The mode.

    Raises:
        InputError: there is no such mode.
    """
    if mode not in MODES:
        raise InputError(f"mode {mode!r}", "is not one of codi-v1's", f"choose among {', '.join(MODES)}")
    return mode
