"""Metrics of imagined video, one file for each library that computes them.

To add one, write a class as `metric.py` describes it, with a column for each of its values, and
name it in `catalogue.py`.
"""
