"""What clients speak: one module for the words of each SDK."""
