"""Where results are kept: one SQLite file in a folder, which several programs share by locks.

`results` reads finished replicas wherever they are, in a folder, a store or an exported file,
`history_of` what happened along their training; `selection` picks some by a flag; `exporting` and
`restoring` write a store to files and back.
"""

from experiments.store import exporting, restoring, results, selection
from experiments.store.database import NoStoreError, Store, StoreError
from experiments.store.histories import history_of
from experiments.store.locks import alive_in
from experiments.store.schema import FILE_NAME, HISTORIES

__all__ = [
    "FILE_NAME", "HISTORIES", "Store", "StoreError", "NoStoreError", "alive_in", "exporting",
    "history_of", "restoring", "results", "selection",
]
