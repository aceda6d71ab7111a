"""The user study of the paper's Table 2: hidden systems, rated for realism and lip sync from 1 to 10."""

__all__: list[str] = []
