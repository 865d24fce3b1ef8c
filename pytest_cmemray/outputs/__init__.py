"""Results for other programs, one module each."""
