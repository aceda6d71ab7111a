"""How good is it: pictures and lips of generated clips against the real ones, in tables that say how they were made."""

__all__: list[str] = []
