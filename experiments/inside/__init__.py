"""What is inside of one trained network: what it gets wrong, its weights, what it looks at.

`choosing` finds the network, `numbers` and `attributions` say what it is like, `writing` leaves all
of it in a folder. The latter and `pictures` need matplotlib, and are imported only by name.
"""

from experiments.inside import attributions, choosing, numbers

__all__ = ["attributions", "choosing", "numbers", "pictures", "writing"]
