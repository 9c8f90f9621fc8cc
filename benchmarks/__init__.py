"""One script per claim: this project and its peers on the same data in the same run.

Run one with `python -m benchmarks.NAME`; README.md lists them.
"""
