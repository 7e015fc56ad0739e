"""Tests of remembered calls."""
