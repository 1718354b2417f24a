"""The pipeline seen through Dagster: one asset for each stage of dvc.yaml, materialized by running that stage in DVC.

Nothing of the method lives here. `dvc.yaml` owns the graph and the cache; this package reads the graph from DVC
(`graph`), turns stages into assets (`assets`, `checks`), runs them (`launcher`, `processes`), shows what they made
(`summaries`, `previews`) and tells Dagster about work that was done outside it (`sync`, `sensors`).
"""
