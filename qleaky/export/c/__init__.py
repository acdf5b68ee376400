"""Contract -> C99 for microcontrollers: steps, packed weights, golden vectors, and what builds them."""
