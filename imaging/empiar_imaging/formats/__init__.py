"""What a file's own structure says of it: whole or cut, what its header states, whether it is an error message."""
