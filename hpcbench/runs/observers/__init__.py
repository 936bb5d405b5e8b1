"""What watches a run on rank 0: the terminal and MLPerf's log; TensorBoard's is the framework's."""
