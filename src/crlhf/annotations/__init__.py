"""Raw annotations: reading batch files, the rules a row must keep, and the expectations over the raw table.

`raw_files` turns files into the raw table, `rules` splits the raw table into the verdicts that count and the
quarantine, `expectations` states the same rules as a Great Expectations suite. `docs/raw-table.md` is the contract for
people who write importers.
"""
