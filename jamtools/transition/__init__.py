"""The transition N*(P): trials, the search, the median, its scaling, the bound and the jump."""
