"""Sets of images too large for one sitting or one machine: partitions, restart, Dask, Parquet.

The images are cut into partitions; each is done as a whole, by this process or by a worker of a
Dask cluster, and written to a folder that can be read, evaluated, and continued later.
"""

from __future__ import annotations

from kptk.bulk.run import predict_dataset
from kptk.bulk.stored import StoredPredictions, read_predictions

__all__ = ["StoredPredictions", "predict_dataset", "read_predictions"]
