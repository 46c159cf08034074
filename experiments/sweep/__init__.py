"""Trains many replicas: plans, claims, runs, and survives what goes wrong."""
