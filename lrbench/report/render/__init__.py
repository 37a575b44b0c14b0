"""Documents as text: one file for each form. None reads another's output."""
