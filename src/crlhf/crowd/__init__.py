"""The crowd: honeypots with known wrong lines, simulated truth of completions, and simulated annotators."""
