"""Processes: settings, topology (queues, slots), bootstrap, the embedded dev server, the supervisor of `fettle up`.

No business rule lives here, and nothing but `cli` and `web` may import it.
"""
