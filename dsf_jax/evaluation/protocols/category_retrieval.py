"""Sketch queries against photos of the same classes: mean average precision, precision and recall
in the first K.

Average precision is the non-interpolated one over the whole gallery; ties keep gallery order;
queries without any relevant photo are left out and counted.
"""
