"""What a batch reads: files of any format, their rows, and the requests that these stand for."""
