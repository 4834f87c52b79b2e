"""The hook side: runs inside PEP 517 hooks, reads the declaration, returns settings.

It never imports torch: a hook runs in milliseconds, several times in each build.
"""
