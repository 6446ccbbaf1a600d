"""The pure rules of Pai: values and functions without I/O, clock or randomness of their own."""
