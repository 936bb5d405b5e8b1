"""From result files to answers: pure functions, figures and the report."""
