"""Tests of users' own operators."""
