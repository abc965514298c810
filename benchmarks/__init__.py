"""Speed measurements: `make bench` runs each file of this folder and writes docs/benchmarks.md.

A new benchmark is one file with a docstring and `rows(setting)`, which yields a Row for each line of its table. The two
programs that it compares run in one process or take turns, so that a busy machine slows both equally.
"""
