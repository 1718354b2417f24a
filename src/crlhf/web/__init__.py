"""The annotation page: shows items to invited annotators and keeps their answers; it knows nothing downstream.

The page has effects by nature: a clock, random tokens, a database, a network port. What it shows, and what the crowd's
reliability is, it asks through two functions that the stages give it (`sources.Sources`).
"""
