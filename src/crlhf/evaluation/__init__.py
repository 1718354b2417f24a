"""Problems and benchmarks, running programs against their tests, and the scores that follow."""
