"""Everything that touches the world: command lines, data, results, figures, benchmarks.

Its modules are the commands; what they do is in its packages, whose order is written down in
tests/test_architecture.py. Imports `qjax`, never the other way round. Importing this package shows
jax one CPU device per core, and asks for whole float32 products.
"""

from experiments.startup import use_all_cores, use_whole_float32

use_all_cores()  # here, because these must come before jax starts
use_whole_float32()
