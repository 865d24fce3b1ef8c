"""Benchmarks: programs, the plugin's fixed cost, and public test suites, beside the peers."""
