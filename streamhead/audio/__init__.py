"""Sound: reading, resampling, features, level, voice detection and the front end that a live session runs.

Import from the modules; this package itself loads nothing.
"""

__all__: list[str] = []
