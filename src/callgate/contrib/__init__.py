"""Integrations with other systems. Each implements a protocol from above; nothing imports them."""
