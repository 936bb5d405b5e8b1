"""The report: a sweep's answers in words and tables, a file a table."""
