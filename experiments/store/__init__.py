"""Where results are kept, and how they are read, wherever they are kept."""

from experiments.store.database import FILE_NAME, HISTORIES, VERSION, Store, StoreError

__all__ = ["FILE_NAME", "HISTORIES", "VERSION", "Store", "StoreError"]
