"""Drawing for browsers and for the tools that people have already: our API, A1111's, one page, one queue.

Import its modules only where something is served: they need the extra `serve`.
"""
