"""Labels by hand: their files, which are the record, and what the catalogue is told of them."""
