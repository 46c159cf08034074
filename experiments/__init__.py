"""Everything that touches the world: command lines, data, results, figures, benchmarks.

Imports `qjax`, never the other way round. Importing this package shows jax one CPU device per core.
"""

from experiments.devices import use_all_cores

use_all_cores()  # here, because it must come before jax starts
