"""``init``: put a model into the declaration of a project, whatever builds that project so far.

- ``command``: finds, shows what would change, asks, writes, and checks
- ``classes``: the classes of torch.nn.Module in a project, by reading its source
- ``declare``: the tables of a model
- ``document``: pyproject.toml as text whose comments and order stay
- ``backends``: what moves from each build backend to scikit-build-core

Nothing of a project is imported until its declaration is written, and then by ``check``.
"""
