EVEN_CHECKS = {"evens_are_few": "no more even numbers than allowed", "evens_are_even": "every number is even"}
