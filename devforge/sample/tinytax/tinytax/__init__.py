"""Invoices with value added tax, and income tax in progressive brackets."""
