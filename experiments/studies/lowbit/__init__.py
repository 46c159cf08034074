"""What trains with weights of 1 to 4 bits."""
