"""What is told of a package of compiled models, for people and for programs.

What is in it, of a wheel and of what a build has just made alike:

- ``contents``: the files of a wheel, of a directory or of an installed distribution
- ``report``: what they are, as data; ``aotbuild inspect --json`` prints it
- ``describing``: calls, times and sizes in words

What a build writes of it, by the step bundle:

- ``provenance``: ``aotbuild.json`` in the wheel's ``.dist-info``: the report, and its origin
- ``sbom``: ``sboms/aotbuild.cdx.json`` beside it, a bill of materials
- ``page``: ``aotbuild-report.html`` in the directory of the build, of the template ``page.html``

Nothing here imports torch.
"""
