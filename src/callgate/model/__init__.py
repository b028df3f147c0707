"""`iModel`: how it is built, how a call is made, streams, sync twins, tools, registry, pricing, spread."""
