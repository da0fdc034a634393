"""A package, so that `tests.requirements` is ours even if a dependency installs a `tests` too."""
