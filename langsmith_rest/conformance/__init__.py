"""Certify a port of the recorder: run it against the embedded store, with injected faults, and compare with ours."""
