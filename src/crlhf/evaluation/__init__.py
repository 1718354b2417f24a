"""Problems, protocols, the verdict sandbox, pass@k and their intervals."""
