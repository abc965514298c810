"""Speed, measured side by side: `make bench` runs one file of this folder after another and writes docs/benchmarks.md.

A new benchmark is one file with a docstring and `rows(setting)`, which yields a Row for each line of its table. What it
compares runs in one process or in turns, interleaved, so that a busy machine slows both sides alike.
"""
