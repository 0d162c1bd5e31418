"""Lowering: the ATen ops of an exported program become the ops of the file format.

registry.py holds the table of handlers, the other modules fill it, driver.py walks the program.
"""
