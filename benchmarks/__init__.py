"""What is measured, against what floor, in one run: ``make bench``."""
