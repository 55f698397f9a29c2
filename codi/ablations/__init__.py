"""Bridges against alternatives: what couples codi-mini's denoisers of clips and sounds, piece by piece.

    components.py  what may stand in the place of environment encoders and bridges
    arms.py        the arms of the comparison, one YAML file of configs/ablations each, and how they are built
    training.py    trains an arm between the frozen denoisers
    report.py      tables and pictures

`python -m codi.ablations --out DIR` trains and measures what has not been: an arm is a pipeline, measured as any other.
"""
