"""One file a layer. A layer is thin: the mechanism it uses is an ordinary object of `control/` or `cache/`.

Their order is not decided here but in `callgate.pipeline`.
"""
