"""Certify a port of the recorder: run it against the embedded store, through faults, and compare with ours."""
