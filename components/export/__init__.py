"""What leaves training: signatures, golden rows, warm-up requests, a sample of the rows."""
