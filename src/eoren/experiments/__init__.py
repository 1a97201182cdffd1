"""What the paper shows, as experiments that anyone can run."""
