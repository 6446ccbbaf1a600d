"""Tests of reconciler.source on real repositories."""
