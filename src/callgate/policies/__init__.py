"""A package for each policy: a mechanism, and in `layer.py` the layer that applies it to a call.

A mechanism takes the time as an argument and does no I/O (except the stores of the cache). A new policy is a
package here, a name and a field in `callgate.pipeline`, which holds the order, and a line in
`callgate.model.builder`, which creates the layers of a model.
"""
