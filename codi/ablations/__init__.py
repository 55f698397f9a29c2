"""Bridges against every alternative, at prototype scale: small experts of video and audio on codi-mini's latents.

    processes.py   how latents are noised and sampled: rectified flow, or noise prediction
    experts.py     the small denoisers, and how one runs in codi's joint loop
    joins.py       what couples two experts: readers, additions, a discriminator's gradient, one network for both
    arms.py        the arms of the comparison, one YAML file of configs/ablations each, and how they are built
    training.py    experts first, then what joins them
    measure.py     samples through codi's evaluation
    report.py      tables and pictures

`python -m codi.ablations --out DIR` runs what has not been run before.
"""
