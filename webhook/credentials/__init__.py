"""Which credentials may answer for an image, one file for each place that they come from."""
